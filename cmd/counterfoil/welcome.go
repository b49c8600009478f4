package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
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
		fmt.Fprintf(p.Out, "\n  # %s\n", oneLine(r.Title))
		for _, line := range r.tryLines(s.dir.env(r.Name)) {
			fmt.Fprintf(p.Out, "  %s\n", line)
		}
	}
	fmt.Fprintf(p.Out, "\nOr let Counterfoil do all of that:\n\n  %s --config %s call %s\n\n", self(), word(s.dir.consumer()), s.realms[0].Name)
}

// self is how the program was called: 'go run' builds it in a place of its own
// that is gone afterwards.
func self() string {
	if path, err := os.Executable(); err == nil && strings.Contains(path, "go-build") {
		return "go run ./cmd/counterfoil"
	}
	return "counterfoil"
}

// A curlLine is a curl command that gets its secrets through a pipe, never as an
// argument that a process list shows. Each of its configuration lines is made
// of text and of variables ("$NAME").
type curlLine struct {
	config [][]string
	args   string
}

// set adds the configuration line: option = "parts". A part that starts with a
// dollar sign is a variable; any other is text of a description, and quoted for
// curl here and for the shell in String.
func (c *curlLine) set(option string, parts ...string) {
	line := []string{option + ` = "`}
	for _, part := range parts {
		if !strings.HasPrefix(part, "$") {
			part = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(part)
		}
		line = append(line, part)
	}
	c.config = append(c.config, append(line, `"`))
}

func (c *curlLine) String() string {
	var b strings.Builder
	b.WriteString(`printf '%s\n'`)
	for _, line := range c.config {
		b.WriteByte(' ')
		text := ""
		for _, part := range line {
			if !strings.HasPrefix(part, "$") {
				text += part
				continue
			}
			b.WriteString(quoted(text) + `"` + part + `"`)
			text = ""
		}
		b.WriteString(quoted(text))
	}
	return b.String() + " | curl -sK - " + c.args
}

// quoted is s as a part of a shell word, whatever is in it.
func quoted(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// word is s as a shell word, quoted where it must be.
func word(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-"
	if strings.Trim(s, plain) == "" {
		return s
	}
	return quoted(s)
}

// tryLines are shell commands that get a token and call the first API.
func (r *realm) tryLines(env string) []string {
	if !filepath.IsAbs(env) && !strings.HasPrefix(env, ".") {
		env = "./" + env // or the shell would look for it elsewhere
	}
	lines := []string{
		"set -a; . " + word(env) + "; set +a",
		`TOKEN=$(` + r.tokenLine().String() + ` | sed 's/.*"access_token":"\([^"]*\)".*/\1/')`,
	}
	if len(r.APIs) > 0 {
		lines = append(lines, r.callLine(&r.APIs[0]).String())
	}
	return lines
}

// tokenLine asks for a token as the description says.
func (r *realm) tokenLine() *curlLine {
	e := &r.TokenEndpoint
	c := &curlLine{args: `"$` + varTokenURL + `"`}
	var form []string
	if e.GrantTypeIn == provider.InQuery {
		c.args = `-X POST "$` + varTokenURL + `?grant_type=client_credentials"`
	} else {
		form = append(form, "grant_type=client_credentials")
	}
	if e.ClientAuthentication[0] == provider.ClientSecretPost {
		form = append(form, "&client_id=", "$"+varClientID, "&client_secret=", "$"+varClientSecret)
	} else {
		c.set("user", "$"+varClientID, ":", "$"+varClientSecret)
	}
	if e.Scope.Parameter == provider.Required {
		form = append(form, "&scope=", "$"+varScope)
	}
	for _, h := range e.Headers {
		r.addHeader(c, h)
	}
	if len(form) > 0 {
		c.set("data", form...)
	}
	return c
}

// callLine makes the API's example call.
func (r *realm) callLine(api *provider.API) *curlLine {
	call := api.Example
	c := &curlLine{args: `"$` + varAPIURL + `"`}
	if call.Path != "" {
		c.args += word(call.Path)
	}
	for _, h := range api.Headers {
		r.addHeader(c, h)
	}
	if call.Body != "" {
		c.args += " -d " + quoted(call.Body)
	}
	if plain := call.Method == http.MethodGet || (call.Method == http.MethodPost && call.Body != ""); !plain {
		c.args = "-X " + word(call.Method) + " " + c.args
	}
	return c
}

func (r *realm) addHeader(c *curlLine, h provider.Header) {
	name := h.Name + ": "
	switch h.From {
	case provider.HeaderFromToken:
		if h.Scheme != "" {
			name += h.Scheme + " "
		}
		c.set("header", name, "$TOKEN")
	case provider.HeaderFromAPIKey:
		c.set("header", name, "$"+variable(r.Provider, provider.SettingAPIKey, varAPIKey))
	case provider.HeaderFromTenant:
		c.set("header", name, "$"+variable(r.Provider, provider.SettingTenant, varTenant))
	default:
		c.set("header", name+h.Value)
	}
}

// join lists names for a person.
func join(names []string) string {
	return strings.Join(names, ", ")
}
