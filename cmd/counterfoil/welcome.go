package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/counterfoil/counterfoil/provider"
)

// welcome prints what is served and the lines to try. It returns the error of
// the first write that failed.
func (p *program) welcome(s *site) error {
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
		for _, t := range r.trials(s.dir.env(r.Name)) {
			fmt.Fprintf(p.Out, "\n  # %s\n", oneLine(t.says))
			for _, c := range t.commands {
				fmt.Fprintf(p.Out, "  %s\n", c)
			}
		}
	}
	fmt.Fprintf(
		p.Out, "\nOr let Counterfoil do all of that:\n\n  %s --config %s call %s\n", self(), word(s.dir.consumer()),
		s.realms[0].Name,
	)
	return p.tellTrust(s)
}

// tellTrust prints how programs that do not read an environment file can be made
// to trust the development authority.
func (p *program) tellTrust(s *site) error {
	file, err := filepath.Abs(s.ca)
	if err != nil {
		return err
	}
	keytool := commandLine{
		"keytool", "-importcert", "-noprompt", "-alias counterfoil", "-file " + word(s.ca), "-keystore trust.jks",
		"-storetype JKS", "-storepass changeit",
	}
	_, err = fmt.Fprintf(p.Out, `
curl, Python, Node, Go, and .NET on Linux, trust the development authority by the environment files; others by
%s:

  # a browser: import the file as an authority, in its settings for certificates
  # Java (delete an old trust.jks first); then: java -Djavax.net.ssl.trustStore=trust.jks
  %s
  # Node with dotenv, which comes too late: Node reads this variable at its start only
  export NODE_EXTRA_CA_CERTS=%s
  # .NET on Windows: certutil -user -addstore Root FILE; on macOS: security add-trusted-cert FILE
  # Mono: cert-sync --user FILE

`, s.ca, keytool.format("", ""), word(file))
	return err
}

// self is how the program was called: 'go run' builds it in a temporary
// directory.
func self() string {
	if path, err := os.Executable(); err == nil && strings.Contains(path, "go-build") {
		return "go run ./cmd/counterfoil"
	}
	return "counterfoil"
}

// trial is something to try: what it shows, and its shell commands.
type trial struct {
	says     string
	commands []string
}

// maxColumns is the maximal length of a printed line, if its words allow it.
const maxColumns = 120

// commandLine is a command in shell words.
type commandLine []string

// curlCommand starts a command as a provider's guide shows it, for a shell that
// has sourced an environment file without exporting it. Secrets are arguments,
// which others on this machine can see in a list of processes: they are those of
// a development client.
func curlCommand(words ...string) commandLine {
	return append(commandLine{"curl", "-sS", `--cacert "$CURL_CA_BUNDLE"`}, words...)
}

// format returns the command between before and after, in lines of maxColumns
// that are indented by two blanks.
func (c commandLine) format(before, after string) string {
	var b strings.Builder
	b.WriteString(before)
	width := 2 + len(before)
	for i, w := range c {
		if i == len(c)-1 {
			w += after
		}
		switch {
		case i == 0:
		case width+len(" ")+len(w)+len(` \`) > maxColumns:
			b.WriteString(" \\\n      ")
			width = 6
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(w)
		width += len(w)
	}
	return b.String()
}

// template is a shell word of text and of variables ("$NAME"). Text comes from a
// description, which may be untrusted: parts that are not plain are quoted.
func template(parts ...string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=&?,;+-% "
	var b strings.Builder
	open, named := false, false // inside double quotes; just after a variable
	for _, part := range parts {
		variable := strings.HasPrefix(part, "$")
		inside := variable || strings.Trim(part, plain) == "" && !(named && continuesName(part))
		if inside != open {
			b.WriteByte('"')
			open = inside
		}
		if inside {
			b.WriteString(part)
		} else {
			b.WriteString(quoted(part))
		}
		named = variable
	}
	if open {
		b.WriteByte('"')
	}
	return b.String()
}

// quoted is s as a part of a shell word, whatever its content.
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

// continuesName reports whether text after a variable would be read as a part of
// its name, or in some shells (":u") as a modifier.
func continuesName(text string) bool {
	return text != "" && (text[0] == ':' && len(text) > 1 || strings.Trim(text[:1], "/.:=&?,;+-% ") != "")
}

// trials are what to try at the realm: a token and a call of the first API, what
// else its client may or may not see, and the other APIs.
func (r *realm) trials(env string) []trial {
	if !filepath.IsAbs(env) && !strings.HasPrefix(env, ".") {
		env = "./" + env // or the shell would search for it elsewhere
	}
	// Every access token is a JWT, which begins like this.
	token := r.tokenLine().format("TOKEN=$(", ` | grep -oE 'eyJ[A-Za-z0-9._-]+')`)
	all := []trial{{r.Title, []string{". " + word(env), token}}}
	if len(r.APIs) == 0 {
		return all
	}
	first := &r.APIs[0]
	call := func(api *provider.API, tenant string) string { return r.callLine(api, tenant).format("", "") }
	all[0].commands = append(all[0].commands, call(first, ""))
	if _, tenants := first.Header(provider.HeaderFromTenant); tenants && first.Name == "events" { // rows of other APIs belong to no tenant
		for _, t := range r.client.tenants {
			if t != r.client.tenant {
				all = append(all, trial{"the client's other tenant has other rows", []string{call(first, t)}})
			}
		}
		if !slices.Contains(r.client.tenants, strangeTenant) {
			all = append(all, trial{"a tenant that the client is not granted: 403", []string{call(first, strangeTenant)}})
		}
	}
	if len(r.APIs) == 1 {
		return all
	}
	var again []string
	for i := range r.APIs {
		again = append(again, call(&r.APIs[i], ""))
	}
	all = append(all, trial{"the same token opens " + r.APIs[1].Title, again[1:]})
	if r.TokenEndpoint.Policy == provider.PolicyReplace {
		all = append(
			all,
			trial{"a new token replaces the old one for every API: 401", append(
				[]string{r.tokenLine().format("", " -o /dev/null")}, again...)},
		)
	}
	return all
}

// tokenLine requests a token as the description says.
func (r *realm) tokenLine() commandLine {
	e := &r.TokenEndpoint
	id := "$" + variable(r.Provider, provider.SettingClientID, varClientID)
	secret := "$" + variable(r.Provider, provider.SettingClientSecret, varClientSecret)
	c := curlCommand(template("$" + varTokenURL))
	if e.GrantTypeIn == provider.PlaceQuery {
		c = curlCommand("-X POST", template("$"+varTokenURL, "?grant_type=client_credentials"))
	} else {
		c = append(c, "-d grant_type=client_credentials")
	}
	if e.ClientAuthentication[0] == provider.MethodClientSecretPost {
		c = append(c, "-d "+template("client_id=", id), "-d "+template("client_secret=", secret))
	} else {
		c = append(c, "-u "+template(id, ":", secret))
	}
	if e.Scope.Parameter == provider.PresenceRequired {
		c = append(c, "-d "+template("scope=", "$"+varScope))
	}
	for _, h := range e.Headers {
		c = append(c, r.headerWord(h, ""))
	}
	return c
}

// callLine makes the API's example call, for the client's tenant or another.
func (r *realm) callLine(api *provider.API, tenant string) commandLine {
	example := api.Example
	var c commandLine
	if plain := example.Method == http.MethodGet || (example.Method == http.MethodPost && example.Body != ""); !plain {
		c = curlCommand("-X " + word(example.Method))
	} else {
		c = curlCommand()
	}
	if api == &r.APIs[0] {
		c = append(c, template("$"+varAPIURL, example.Path))
	} else {
		c = append(c, word(r.apiURL(api)+example.Path))
	}
	for _, h := range api.Headers {
		c = append(c, r.headerWord(h, tenant))
	}
	if example.Body != "" {
		c = append(c, "-d "+quoted(example.Body))
	}
	return c
}

// headerWord is the option for a header; tenant replaces the client's own.
func (r *realm) headerWord(h provider.Header, tenant string) string {
	name := h.Name + ": "
	switch {
	case h.From == provider.HeaderFromToken && h.Scheme != "":
		return "-H " + template(name+h.Scheme+" ", "$TOKEN")
	case h.From == provider.HeaderFromToken:
		return "-H " + template(name, "$TOKEN")
	case h.From == provider.HeaderFromAPIKey:
		return "-H " + template(name, "$"+variable(r.Provider, provider.SettingAPIKey, varAPIKey))
	case h.From == provider.HeaderFromTenant && tenant == "":
		return "-H " + template(name, "$"+variable(r.Provider, provider.SettingTenant, varTenant))
	case h.From == provider.HeaderFromTenant:
		return "-H " + quoted(name+tenant)
	}
	return "-H " + quoted(name+h.Value)
}

// join lists names for a person.
func join(names []string) string {
	return strings.Join(names, ", ")
}
