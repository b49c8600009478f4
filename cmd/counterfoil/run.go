package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitGood        = 0
	exitLocal       = 1 // something on this side failed
	exitUsage       = 2 // the command line makes no sense
	exitRefused     = 3 // authentication was refused
	exitCallerFault = 4 // the API answered 4xx
	exitServerFault = 5 // the API answered 5xx
	exitInterrupted = 130
)

// stdio is where a command reads and writes.
type stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// program is what every command shares.
type program struct {
	stdio
	getenv func(string) string
	clock  counterfoil.Clock
	config string // path of the client configuration
	// consumer is the file that was read there, and noExec forbids what it says to run.
	consumer fs.FileInfo
	noExec   bool
	output   format
}

// failure is an error with an exit code and the next action.
type failure struct {
	code int
	err  error
	hint string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// withHint adds the next action to an error.
func withHint(err error, format string, args ...any) error {
	return &failure{code: exitCode(err), err: err, hint: fmt.Sprintf(format, args...)}
}

// usagef is a mistake on the command line.
func usagef(format string, args ...any) error {
	return &failure{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// run runs one command line and returns its exit code. Tests and main come
// through the same door.
func run(ctx context.Context, args []string, getenv func(string) string, io stdio) int {
	out := &checkedWriter{w: io.Out}
	io.Out = out
	p := &program{stdio: io, getenv: getenv, output: text, clock: clock.System}
	root := p.root()
	root.SetArgs(args)
	root.SetIn(io.In)
	root.SetOut(io.Out)
	root.SetErr(io.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = out.err
	}
	if err == nil {
		return exitGood
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	p.report(cmd, err)
	return exitCode(err)
}

// report writes an error as one line and, where there is one, the hint as a
// second.
func (p *program) report(cmd *cobra.Command, err error) {
	var f *failure
	hinted := errors.As(err, &f)
	if msg := err.Error(); msg != "" {
		fmt.Fprintf(p.Err, "counterfoil: %s\n", lines(msg))
	}
	switch {
	case hinted && f.hint != "":
		fmt.Fprintf(p.Err, "hint: %s\n", oneLine(f.hint))
	case exitCode(err) == exitUsage:
		fmt.Fprintf(p.Err, "hint: see '%s --help'\n", cmd.CommandPath())
	}
}

// exitCode is the one place that turns an error into an exit code.
func exitCode(err error) int {
	var f *failure
	var refused *counterfoil.Error
	switch {
	case errors.As(err, &f):
		return f.code
	case errors.As(err, &refused) && refusals[refused.Status]:
		return exitRefused
	}
	return exitLocal
}

// refusals are the statuses of a token endpoint that say no, rather than not now
// or not so.
var refusals = map[int]bool{http.StatusBadRequest: true, http.StatusUnauthorized: true, http.StatusForbidden: true}

// root is the command line as a whole. Whatever cobra refuses before a command
// starts is a mistake of usage.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "counterfoil",
		Short: "Machine-to-machine authentication for APIs, both ends of the wire",
		Long: `Counterfoil issues OAuth 2.0 client-credentials tokens, checks them in front of
an API, and gets, keeps and renews them for a client. One description of a
provider drives both ends.

Exit codes: 0 good, 1 local failure, 2 usage, 3 authentication refused,
4 and 5 the API answered 4xx or 5xx, 130 interrupted.`,
		Example: `  counterfoil up
  counterfoil --config counterfoil-data/consumer.yaml token a55
  counterfoil --config counterfoil-data/consumer.yaml call a55 GET /wallets
  counterfoil --config counterfoil-data/consumer.yaml doctor engagifii
  counterfoil provider show oauth2`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&p.config, "config", "", "client configuration (default $COUNTERFOIL_CONFIG, then counterfoil/consumer.yaml in your configuration directory)")
	flags.BoolVar(&p.noExec, "no-exec", false, "run no program for a secret: refuse exec: references")
	flags.VarP(&p.output, "output", "o", "output for people or for programs: text or json")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%w", err) })
	root.AddCommand(p.upCommand(), p.serveCommand(), p.tokenCommand(), p.callCommand(), p.doctorCommand(),
		p.providerCommand(), p.clientCommand(), p.keyCommand(), p.dataCommand(), p.auditCommand(), p.versionCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	exampleCompletion(root)
	strictUsage(root)
	return root
}

// strictUsage makes wrong arguments of every command a mistake of usage, and
// gives commands that only group others an error for an unknown one.
func strictUsage(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			switch {
			case err == nil:
				return nil
			case cmd.HasAvailableSubCommands() && len(args) > 0:
				return usagef("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return usagef("%w", err)
		}
	}
	for _, sub := range cmd.Commands() {
		strictUsage(sub)
	}
}

// exampleCompletion adds examples to the commands that cobra makes.
func exampleCompletion(root *cobra.Command) {
	completion, _, err := root.Find([]string{"completion"})
	if err != nil {
		return
	}
	completion.Example = "  source <(counterfoil completion bash)"
	for _, shell := range completion.Commands() {
		shell.Example = "  counterfoil completion " + shell.Name() + " > counterfoil." + shell.Name()
	}
}

// group is a command that only holds others; its examples are theirs.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	examples := make([]string, len(subs))
	for i, sub := range subs {
		examples[i] = sub.Example
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs, Example: strings.Join(examples, "\n"),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(subs...)
	return cmd
}

// format is the form of what a command prints.
type format string

const (
	text     format = "text"
	jsonForm format = "json"
)

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "FORMAT" }
func (f *format) Set(s string) error {
	if s != string(text) && s != string(jsonForm) {
		return errors.New("choose text or json")
	}
	*f = format(s)
	return nil
}

// print writes v as JSON when programs read, and calls people otherwise.
func (p *program) print(v any, people func(w io.Writer)) error {
	if p.output == text {
		people(p.Out)
		if out, ok := p.Out.(*checkedWriter); ok {
			return out.err
		}
		return nil
	}
	enc := json.NewEncoder(p.Out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// lines is oneLine for a text of several lines, which a list of mistakes is.
func lines(s string) string {
	all := strings.Split(s, "\n")
	for i := range all {
		all[i] = oneLine(all[i])
	}
	return strings.Join(all, "\n")
}

// oneLine keeps a stranger's text on its line and without control characters.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || (r >= 0x7f && r < 0xa0) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}
