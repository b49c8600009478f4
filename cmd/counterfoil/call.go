package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/provider"
	"github.com/spf13/cobra"
)

// maxAnswer bounds what 'call -o json' holds in memory, in bytes; without -o
// json, responses are streamed.
const maxAnswer = 64 << 20

type callOptions struct {
	data    string
	headers []string
	include bool
}

func (p *program) callCommand() *cobra.Command {
	var o callOptions
	cmd := &cobra.Command{
		Use: "call CONNECTION [METHOD] [PATH]", Short: "Call an API with a token",
		Long: `Call the API of a connection: with its token, renewed when it is refused, and
with the headers that its provider asks for. The answer's body goes to standard
output. A GraphQL API needs neither method nor path; with nothing but the
connection, the example of its provider's description is called. References to
secrets are followed as 'token' does, also while a token is cached.

--data takes the body itself, @FILE or @- for standard input.`,
		Example: `  counterfoil call a55
  counterfoil call a55 GET /wallets
  counterfoil call engagifii POST /api/1.0/event/list --data '{"PageSize":5}'
  counterfoil call ahotu --data '{"query":"{ events(page: 0, size: 10) { totalCount } }"}'`,
		Args: cobra.RangeArgs(1, 3), ValidArgsFunction: p.completeConnections,
		RunE: func(cmd *cobra.Command, args []string) error { return p.call(cmd.Context(), args, o) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.data, "data", "d", "", "body of the request: text, @FILE or @-")
	f.StringArrayVarP(&o.headers, "header", "H", nil, "further header, as 'Name: value'")
	f.BoolVarP(&o.include, "include", "i", false, "print the status line and the headers before the body")
	p.verboseFlag(cmd)
	return cmd
}

func (p *program) call(ctx context.Context, args []string, o callOptions) error {
	link, err := p.open(args[0])
	if err != nil {
		return err
	}
	if err := p.noCalls(link); err != nil {
		return withHint(err, "add {api_url}, or take the token alone: 'counterfoil token %s'", link.name)
	}
	req, err := p.request(ctx, link, args[1:], o)
	if err != nil {
		return err
	}
	if err := link.follow(ctx); err != nil {
		return err
	}
	end := p.tellWaiting(ctx, link)
	if p.verbose { // for its steps: the call uses the same token, or fails in the same way
		if token, err := link.Token(ctx); err == nil {
			p.tokenStep(token)
		}
	}
	p.step("call", "%s %s%s", req.Method, req.URL.Host, req.URL.Path) // a query may hold secrets
	began := time.Now()
	resp, err := link.Client().Do(req)
	end()
	if err != nil {
		return p.explain(unwrapped(err))
	}
	defer resp.Body.Close()
	p.step("call", "answered %s in %s, %s", resp.Status, time.Since(began).Round(time.Millisecond), resp.Header.Get("Content-Type"))
	if err := p.answer(resp, o.include); err != nil {
		return err
	}
	if resp.StatusCode < 400 {
		return nil
	}
	refused := &failure{code: exitCallerFault, err: fmt.Errorf("the API answered %s", resp.Status)}
	switch status := resp.StatusCode; {
	case status >= 500:
		refused.code, refused.hint = exitServerFault, callRemedy(status)
	case status == http.StatusUnauthorized, status == http.StatusForbidden: // about the connection, not this call
		refused.hint = doctor(args[0])
	case status == http.StatusTooManyRequests:
		refused.hint = callRemedy(status)
	case status == http.StatusNotFound:
		refused.hint = "check the path, which continues {api_url}"
	default:
		refused.hint = "fix the call: the answer says what the API does not accept"
	}
	return refused
}

// unwrapped is the error inside an http.Client's, which repeats the URL with its
// query.
func unwrapped(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// request builds the call: method and path default to those for the API's kind.
func (p *program) request(ctx context.Context, link *link, args []string, o callOptions) (*http.Request, error) {
	body, err := p.body(o.data)
	if err != nil {
		return nil, err
	}
	if example := link.api.Example; len(args) == 0 && o.data == "" {
		args, body = []string{example.Method, example.Path}, []byte(example.Body) // unchanged: an @ has no meaning here
	}
	method, path := http.MethodGet, ""
	if link.api.Kind == provider.KindGraphQL || body != nil {
		method = http.MethodPost
	}
	switch len(args) {
	case 2:
		method, path = strings.ToUpper(args[0]), args[1]
	case 1:
		if strings.HasPrefix(args[0], "/") {
			path = args[0]
			break
		}
		if method = strings.ToUpper(args[0]); !slices.Contains(httpMethods, method) {
			return nil, chooseFrom(
				httpMethods,
				fmt.Errorf("%q is neither a PATH, which begins with a slash, nor a METHOD%s", args[0], didYouMean(args[0], httpMethods)),
			)
		}
	}
	req, err := link.NewRequest(ctx, method, path, bytes.NewReader(body))
	if err != nil {
		return nil, usagef("%s", strings.TrimPrefix(err.Error(), "client: "))
	}
	for _, h := range o.headers {
		name, value, ok := strings.Cut(h, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || !isToken(name) {
			return nil, usagef("--header %q is not 'Name: value'", h)
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }) {
			return nil, usagef("--header %q has a line end or another control character in its value", name)
		}
		req.Header.Add(name, value)
	}
	return req, nil
}

// isToken reports whether s can name a header (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= 0x20 || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// httpMethods are the methods of calls.
var httpMethods = []string{
	http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead,
	http.MethodOptions,
}

func (c *console) body(data string) ([]byte, error) {
	switch {
	case data == "":
		return nil, nil
	case data == "@-":
		return io.ReadAll(c.In)
	case strings.HasPrefix(data, "@"):
		body, err := os.ReadFile(data[1:])
		if err != nil {
			return nil, fmt.Errorf("--data: %w", err)
		}
		return body, nil
	}
	return []byte(data), nil
}

// answer prints an API's response.
func (c *console) answer(resp *http.Response, include bool) error {
	if c.output == jsonForm {
		raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
		if err != nil {
			return fmt.Errorf("read the API's answer: %w", err)
		}
		if len(raw) > maxAnswer {
			return withHint(
				fmt.Errorf("the API's answer is longer than %d bytes", maxAnswer),
				"leave -o json out: the answer is then printed as it comes",
			)
		}
		var body any = string(raw)
		if json.Valid(raw) {
			body = json.RawMessage(raw)
		}
		return c.print(map[string]any{"status": resp.StatusCode, "headers": resp.Header, "body": body}, nil)
	}
	if include {
		fmt.Fprintf(c.Out, "%s %s\n", resp.Proto, oneLine(resp.Status))
		if err := resp.Header.Write(lineFeeds{c.Out}); err != nil {
			return err
		}
		fmt.Fprintln(c.Out)
	}
	last := &lastByte{w: c.Out}
	if _, err := io.Copy(last, resp.Body); err != nil {
		return fmt.Errorf("read the API's answer: %w", err)
	}
	if last.b != '\n' && last.b != 0 {
		fmt.Fprintln(c.Out)
	}
	return nil
}

// lineFeeds writes headers with the line ends of a terminal.
type lineFeeds struct{ w io.Writer }

func (l lineFeeds) Write(b []byte) (int, error) {
	_, err := l.w.Write(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")))
	return len(b), err
}

// lastByte remembers the last byte of a response.
type lastByte struct {
	w io.Writer
	b byte
}

func (l *lastByte) Write(b []byte) (int, error) {
	if len(b) > 0 {
		l.b = b[len(b)-1]
	}
	return l.w.Write(b)
}
