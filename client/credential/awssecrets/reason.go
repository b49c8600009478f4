package awssecrets

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/counterfoil/counterfoil/client/credential/internal/remote"
)

// hints are the error codes of the service and its front end, and what to do.
// The message of an error is not repeated.
var hints = map[string]string{
	"ResourceNotFoundException":   "there is no such secret, or no version with this label: check the name, the region and the account",
	"AccessDeniedException":       "access is denied: allow secretsmanager:GetSecretValue on it, and kms:Decrypt on its key",
	"DecryptionFailure":           "the service cannot decrypt it: check the KMS key and kms:Decrypt",
	"InvalidRequestException":     "the service cannot return it now: it may be marked for deletion",
	"InvalidParameterException":   "the service does not accept the name or the label",
	"InternalServiceError":        "the service failed",
	"ThrottlingException":         "the service asks for fewer requests",
	"TooManyRequestsException":    "the service asks for fewer requests",
	"UnrecognizedClientException": "AWS does not know the login: check the access key",
	"InvalidClientTokenId":        "AWS does not know the login: check the access key",
	"ExpiredTokenException":       "the login has expired: renew the session",
	"IncompleteSignature":         "AWS does not accept the signature",
	"InvalidSignatureException":   "AWS does not accept the signature: check the secret access key and the machine's clock",
	"SignatureDoesNotMatch":       "AWS does not accept the signature: check the secret access key and the machine's clock",
	"RequestExpired":              "AWS considers the request too old: check the machine's clock",
}

// login is a credentials provider whose errors can be distinguished and printed.
type login struct{ aws.CredentialsProvider }

// loginError is the error of a failed login.
type loginError struct{ error }

// errNoLogin is the error after a chain of logins has tried everything.
var errNoLogin = &loginError{
	errors.New("there is no login: set the environment of AWS, a profile or a role; 'aws sts get-caller-identity' says what is missing"),
}

// Retrieve returns the login.
func (l login) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if l.CredentialsProvider == nil {
		return aws.Credentials{}, errNoLogin
	}
	credentials, err := l.CredentialsProvider.Retrieve(ctx)
	var api smithy.APIError
	switch {
	case err == nil:
		return credentials, nil
	case errors.As(err, &api) && hints[api.ErrorCode()] != "":
		err = &loginError{fmt.Errorf("the login fails: %s (%s)", hints[api.ErrorCode()], api.ErrorCode())}
	default:
		err = errNoLogin
	}
	return aws.Credentials{}, err
}

// reason says what went wrong. The SDK's own errors repeat the response.
func reason(ctx context.Context, err error) error {
	var api smithy.APIError
	var answer *awshttp.ResponseError
	var refused *loginError
	switch {
	case ctx.Err() != nil:
		return remote.Reason(ctx, err)
	case errors.As(err, &refused):
		return refused.error
	case errors.As(err, &api) && hints[api.ErrorCode()] != "":
		return fmt.Errorf("%s (%s)", hints[api.ErrorCode()], api.ErrorCode())
	case errors.As(err, &answer) && answer.HTTPStatusCode() != 0 && answer.HTTPStatusCode() != http.StatusOK:
		why := fmt.Errorf("the service answers %d", answer.HTTPStatusCode())
		if remote.Passes(answer.HTTPStatusCode()) {
			return remote.Passing(why)
		}
		return why
	}
	return remote.Reason(ctx, err)
}
