package wycheproof

import "slices"

// difference is a reason for which verdicts here are not those of the vectors.
type difference struct {
	reason string
	ids    []int
}

type list []difference

// of returns why the verdict on a vector differs; nil where it does not.
func (l list) of(id int) *difference {
	for i := range l {
		if slices.Contains(l[i].ids, id) {
			return &l[i]
		}
	}
	return nil
}

// Why verdicts differ.
const (
	symmetric = "a shared secret verifies nothing here: who checks tokens could make them"
	longer    = "no provider signs with it: RS256, PS256, ES256 and EdDSA are taken (RFC 8725 section 3.1 wants few)"
	empty     = "a token without claims is refused"
	encrypted = "encrypted tokens are never taken"
	strict    = "RFC 7515 section 2: base64url without any other characters, so that one token has one spelling"
)

// differences are those of each file.
var differences = map[string]list{
	"json_web_signature_test": {
		{symmetric, []int{1, 348, 352, 357, 358, 359, 376, 377}},
		{longer, []int{265, 266, 267, 269, 270, 271, 321, 322, 323, 326, 327, 328, 346, 347, 350, 351}},
		{empty, []int{259, 264, 268, 272, 320, 325}},
		{strict, []int{372, 373}},
	},
	"json_web_key_test": {
		{symmetric, []int{2, 13, 14, 15}},
	},
	"json_web_crypto_test": {
		{symmetric, []int{1, 48}},
		{encrypted, []int{50, 67}},
	},
}
