package azurevault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/counterfoil/counterfoil/client/credential/internal/remote"
)

// login is a credential whose errors are safe to print: those of the SDK repeat
// the response of the login server, which repeats parts of the request.
type login struct{ azcore.TokenCredential }

// GetToken requests a token.
func (l login) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := l.TokenCredential.GetToken(ctx, o)
	if err != nil {
		return azcore.AccessToken{}, &loginError{refusal(ctx, err)}
	}
	return token, nil
}

// loginError is a failed login. The SDK has already retried it if that helps.
type loginError struct{ error }

// NonRetriable tells the SDK not to retry the request to the vault for it.
func (*loginError) NonRetriable() {}

// code matches the error numbers of Microsoft Entra.
var code = regexp.MustCompile(`AADSTS[0-9]{4,8}`)

// refusal says why there is no token.
func refusal(ctx context.Context, err error) error {
	var failed *azidentity.AuthenticationFailedError
	switch {
	case ctx.Err() != nil:
		return remote.Reason(ctx, err)
	case !errors.As(err, &failed):
		return errors.New(
			"there is no login: set AZURE_TENANT_ID, AZURE_CLIENT_ID and a secret or certificate, or run where an identity is assigned",
		)
	case code.FindString(err.Error()) != "":
		return fmt.Errorf("the login is refused (%s)", code.FindString(err.Error()))
	case failed.RawResponse != nil:
		return fmt.Errorf("the login's server answers %d", failed.RawResponse.StatusCode)
	}
	return errors.New("the login fails: its server cannot be reached, or a login tool refuses")
}

// hints are what to do about a status of the vault. The body is not repeated.
var hints = map[int]string{
	http.StatusBadRequest:   "the vault does not accept the name or the version",
	http.StatusUnauthorized: "the vault does not accept the login: check the vault's tenant and the machine's clock",
	http.StatusForbidden: "access is denied: assign the role Key Vault Secrets User, " +
		"check the vault's firewall, and whether the secret is disabled or has expired",
	http.StatusNotFound:        "there is no such secret, or no such version",
	http.StatusTooManyRequests: "the vault asks for fewer requests",
}

// reason says what went wrong.
func reason(ctx context.Context, err error) error {
	var refused *loginError
	var answer *azcore.ResponseError
	switch {
	case ctx.Err() != nil:
		return remote.Reason(ctx, err)
	case errors.As(err, &refused):
		return refused.error
	case errors.As(err, &answer) && answer.StatusCode != http.StatusOK:
		why := fmt.Errorf("the vault answers %d", answer.StatusCode)
		if hint := hints[answer.StatusCode]; hint != "" {
			why = errors.New(hint)
		}
		if remote.Passes(answer.StatusCode) {
			return remote.Passing(why)
		}
		return why
	}
	return remote.Reason(ctx, err)
}
