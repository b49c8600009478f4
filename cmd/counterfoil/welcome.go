package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/counterfoil/counterfoil/provider"
)

// welcome prints what is served and the lines to try.
func (p *program) welcome(s *site) {
	t := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PROVIDER\tTOKEN URL\tAPI URL")
	for _, r := range s.realms {
		for i := range r.APIs {
			fmt.Fprintf(t, "%s\t%s\t%s\n", r.Name, r.tokenURL(), r.apiURL(&r.APIs[i]))
		}
	}
	t.Flush()
	fmt.Fprintf(p.Out, "\nTry in another terminal:\n")
	for _, r := range s.realms {
		fmt.Fprintf(p.Out, "\n  # %s\n", r.Title)
		for _, line := range r.tryLines(s.dir.env(r.Name)) {
			fmt.Fprintf(p.Out, "  %s\n", line)
		}
	}
	fmt.Fprintf(p.Out, "\nOr let Counterfoil do all of that:\n\n  %s --config %s call a55 GET /wallets\n\n", self(), s.dir.consumer())
}

// self is how the program was called: 'go run' builds it in a place of its own
// that is gone afterwards.
func self() string {
	if path, err := os.Executable(); err == nil && strings.Contains(path, "go-build") {
		return "go run ./cmd/counterfoil"
	}
	return "counterfoil"
}

// curlLine is a curl command whose secrets come through a pipe, never as an
// argument that a process list shows.
type curlLine struct {
	config []string // lines of a curl configuration, with %s for each variable
	vars   []string
	args   string
}

func (c *curlLine) add(line string, vars ...string) {
	c.config = append(c.config, line)
	c.vars = append(c.vars, vars...)
}

func (c *curlLine) String() string {
	quoted := make([]string, len(c.vars))
	for i, v := range c.vars {
		quoted[i] = `"$` + v + `"`
	}
	return fmt.Sprintf("printf '%s\\n' %s | curl -sK - --cacert \"$CURL_CA_BUNDLE\" %s", strings.Join(c.config, `\n`), strings.Join(quoted, " "), c.args)
}

// tryLines are shell commands that get a token and call the first API.
func (r *realm) tryLines(env string) []string {
	if strings.Trim(env, "/.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
		env = "'" + strings.ReplaceAll(env, "'", `'\''`) + "'"
	}
	if !strings.HasPrefix(env, "/") && !strings.HasPrefix(env, "./") {
		env = "./" + env
	}
	lines := []string{". " + env, `TOKEN=$(` + r.tokenLine().String() + ` | sed 's/.*"access_token":"\([^"]*\)".*/\1/')`}
	if len(r.APIs) > 0 {
		lines = append(lines, r.callLine(&r.APIs[0]).String())
	}
	return lines
}

// tokenLine asks for a token as the description says.
func (r *realm) tokenLine() *curlLine {
	e := &r.TokenEndpoint
	c := &curlLine{args: `"$` + varTokenURL + `"`}
	var form, vars []string
	if e.GrantTypeIn == provider.InQuery {
		c.args = `-X POST "$` + varTokenURL + `?grant_type=client_credentials"`
	} else {
		form = append(form, "grant_type=client_credentials")
	}
	if e.ClientAuthentication[0] == provider.ClientSecretPost {
		form = append(form, "client_id=%s", "client_secret=%s")
		vars = append(vars, varClientID, varClientSecret)
	} else {
		c.add(`user = "%s:%s"`, varClientID, varClientSecret)
	}
	if e.Scope.Parameter == provider.Required {
		form = append(form, "scope=%s")
		vars = append(vars, varScope)
	}
	for _, h := range e.Headers {
		r.addHeader(c, h)
	}
	if len(form) > 0 {
		c.add(`data = "`+strings.Join(form, "&")+`"`, vars...)
	}
	return c
}

// callLine makes the API's example call.
func (r *realm) callLine(api *provider.API) *curlLine {
	call := api.Example
	c := &curlLine{}
	for _, h := range api.Headers {
		r.addHeader(c, h)
	}
	c.args = `"$` + varAPIURL + call.Path + `"`
	if call.Body != "" {
		c.args += " -d '" + strings.ReplaceAll(call.Body, "'", `'\''`) + "'"
	}
	if plain := call.Method == http.MethodGet || (call.Method == http.MethodPost && call.Body != ""); !plain {
		c.args = "-X " + call.Method + " " + c.args
	}
	return c
}

func (r *realm) addHeader(c *curlLine, h provider.Header) {
	switch h.From {
	case provider.HeaderFromToken:
		c.add(fmt.Sprintf(`header = "%s: %s"`, h.Name, strings.TrimSpace(h.Scheme+" %s")), "TOKEN")
	case provider.HeaderFromAPIKey:
		c.add(fmt.Sprintf(`header = "%s: %%s"`, h.Name), variable(r.Provider, provider.SettingAPIKey, varAPIKey))
	case provider.HeaderFromTenant:
		c.add(fmt.Sprintf(`header = "%s: %%s"`, h.Name), variable(r.Provider, provider.SettingTenant, varTenant))
	default:
		c.add(fmt.Sprintf(`header = "%s: %s"`, h.Name, h.Value))
	}
}

// join lists names for a person.
func join(names []string) string {
	return strings.Join(names, ", ")
}
