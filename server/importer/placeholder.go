package importer

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/counterfoil/counterfoil"
)

// placeholder matches a value that a template engine, or a tool for secrets,
// was to fill in. Such values are in files under version control: anyone could
// authenticate as a client with one for a secret. The list is closed and is
// matched against the whole value, so that secrets that contain such
// characters are imported.
var placeholder = regexp.MustCompile(`(?s)^(?:` + strings.Join([]string{
	`\$\{.*\}`,               // shells, Keycloak, Spring, Compose
	`\$\(.*\)`,               // Make, Azure Pipelines
	`\$[A-Za-z_]\w*`,         // shells
	`%[A-Za-z_][\w.-]*%`,     // Windows
	`\{\{.*\}\}`,             // Helm, Jinja, Ansible
	`<%=.*%>`,                // ERB
	`<[A-Za-z_][\w .:-]*>`,   // documentation
	`#\{.*\}#`,               // Replace Tokens
	`@[A-Za-z_][\w.-]*@`,     // Maven, CMake
	`__[A-Za-z0-9][\w.-]*__`, // Replace Tokens
	`ENC\[.*\]`,              // SOPS, eyaml
	`op://.*`,                // 1Password
	`vault:.*`,               // Bank-Vaults
	`ref\+.*`,                // vals, helmfile
}, "|") + `)$`)

// isPlaceholder reports whether a value is a placeholder.
func isPlaceholder(value string) bool { return placeholder.MatchString(strings.TrimSpace(value)) }

// masked reports whether a value is a mask that a console shows instead of a
// secret.
func masked(value string) bool { return value != "" && strings.Trim(value, "*") == "" }

// plainSecret returns a secret in the clear.
func plainSecret(member, value string) (Secret, error) {
	if masked(value) {
		return Secret{}, fmt.Errorf("%s is masked", member)
	}
	return Secret{Member: member, Plain: counterfoil.Secret(value)}, nil
}

// unhashed returns why a value is not one of the hashes of its format.
func unhashed(member, value string, err error) error {
	switch {
	case masked(value):
		return fmt.Errorf("%s is masked", member)
	case isPlaceholder(value):
		return fmt.Errorf("%s is a placeholder that was to be filled in", member)
	}
	return fmt.Errorf("%s: %w: if it is in the clear, import it in the format plain, as client_id, client_secret and scopes", member, err)
}
