package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitGood        = 0
	exitLocal       = 1 // a local failure
	exitUsage       = 2 // the command line is wrong
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
	console
	getenv func(string) string
	config string // path of the client configuration
	noExec bool   // forbids what the configuration says to run
	place  *place // of the connection that was opened; nil before
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

// usagef makes an error about the command line.
func usagef(format string, args ...any) error {
	return &failure{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// run runs one command line and returns its exit code. Both tests and main call
// it.
func run(ctx context.Context, args []string, getenv func(string) string, io stdio) int {
	out := &checkedWriter{w: io.Out}
	io.Out = out
	p := &program{console: console{stdio: io, output: text, clock: clock.System}, getenv: getenv}
	p.held.to = io.Err
	root := p.root()
	root.SetArgs(args)
	root.SetIn(io.In)
	root.SetOut(io.Out)
	root.SetErr(io.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = out.err
	}
	interrupted := err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled)
	if err == nil || interrupted {
		p.held.release()
	}
	switch {
	case err == nil:
		return exitGood
	case interrupted:
		return exitInterrupted
	}
	if asksJSON(args) {
		p.output = jsonForm // an earlier mistake may have hidden the flag
	}
	p.report(cmd, err)
	return exitCode(err)
}

// report prints an error as one line, followed by the hint, if any, as a second.
func (p *program) report(cmd *cobra.Command, err error) {
	var f *failure
	hint := ""
	if errors.As(err, &f) && f.hint != "" {
		hint = oneLine(p.place.words(f.hint))
	} else if exitCode(err) == exitUsage {
		hint = fmt.Sprintf("see '%s --help'", cmd.CommandPath())
	}
	msg := lines(err.Error())
	if p.output == jsonForm {
		f := reportOf(err, msg, hint)
		f.Log = p.held.take()
		_ = json.NewEncoder(p.Err).Encode(f)
		return
	}
	if msg != "" {
		fmt.Fprintf(p.Err, "counterfoil: %s\n", msg)
	}
	if hint != "" {
		fmt.Fprintf(p.Err, "hint: %s\n", hint)
	}
}

// failed is an error for programs.
type failed struct {
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Reason is the token endpoint's or the client's; Code is the error code of
	// the other side, Status its HTTP status.
	Reason   counterfoil.Reason `json:"reason,omitempty"`
	Code     string             `json:"code,omitempty"`
	Status   int                `json:"status,omitempty"`
	ExitCode int                `json:"exit_code"`
	// Log is what was logged before: warnings, for example.
	Log []any `json:"log,omitempty"`
}

func reportOf(err error, msg, hint string) failed {
	f := failed{Message: msg, Hint: hint, ExitCode: exitCode(err)}
	var refused *counterfoil.Error
	var problem *admin.Problem
	switch {
	case errors.As(err, &refused):
		f.Reason, f.Code, f.Status = refused.Reason, refused.Code, refused.Status
	case errors.As(err, &problem):
		f.Code, f.Status = problem.Code, problem.Status
	}
	return f
}

// asksJSON reports whether a command line that could not be parsed requests
// JSON.
func asksJSON(args []string) bool {
	for i, arg := range args {
		value, ok := strings.CutPrefix(arg, "--output=")
		switch {
		case arg == "--":
			return false
		case arg == "-o" || arg == "--output":
			ok = i+1 < len(args)
			if ok {
				value = args[i+1]
			}
		case !ok && strings.HasPrefix(arg, "-o"):
			value, ok = strings.TrimPrefix(strings.TrimPrefix(arg, "-o"), "="), true
		}
		if ok && value == string(jsonForm) {
			return true
		}
	}
	return false
}

// exitCode is the one place that turns an error into an exit code.
func exitCode(err error) int {
	var f *failure
	var refused *counterfoil.Error
	switch {
	case errors.As(err, &f):
		return f.code
	case errors.As(err, &refused) && refusedThere(refused):
		return exitRefused
	}
	return exitLocal
}

// refusedThere reports whether a token endpoint has refused: by its error code,
// for some answer each request with 200, or else by its status.
func refusedThere(err *counterfoil.Error) bool {
	switch err.Class() {
	case counterfoil.ClassRefused:
		return err.Status != 0 // otherwise a local failure
	case counterfoil.ClassProtocol:
		return refusals[err.Status]
	}
	return false
}

// refusals are the statuses of a token endpoint that mean a refusal, not a
// transient failure or a wrong address.
var refusals = map[int]bool{http.StatusBadRequest: true, http.StatusUnauthorized: true, http.StatusForbidden: true}

// root is the whole command line. Errors of cobra before a command starts are
// usage errors.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "counterfoil",
		Short: "Machine-to-machine authentication for APIs, both ends of the wire",
		Long: `Counterfoil issues OAuth 2.0 client-credentials tokens, checks them in front of
an API, and requests, caches and renews them for a client. One description of a
provider drives both ends.

Exit codes: 0 success, 1 local failure, 2 usage, 3 authentication refused,
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
		Version:       buildVersion(),
	}
	root.SetVersionTemplate(versionLine() + "\n")
	flags := root.PersistentFlags()
	flags.StringVar(
		&p.config, "config", "",
		"client configuration (default $COUNTERFOIL_CONFIG, then counterfoil/consumer.yaml in your configuration directory)",
	)
	flags.BoolVar(&p.noExec, "no-exec", false, "run no program for a secret: refuse exec: references")
	flags.VarP(&p.output, "output", "o", "output for people or for programs: text or json")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.SetFlagErrorFunc(wrongFlag)
	root.AddCommand(p.upCommand(), p.serveCommand(), p.tokenCommand(), p.callCommand(), p.doctorCommand(),
		p.providerCommand(), p.clientCommand(), p.keyCommand(), p.dataCommand(), p.auditCommand(), p.topCommand(), p.alertsCommand(),
		p.blocksCommand(), p.secretCommand(), p.backupCommand(), p.restoreCommand(), p.versionCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	exampleCompletion(root)
	strictUsage(root)
	return root
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

// group is a command that only holds others and shows their examples.
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

// lines is oneLine for a text of several lines, such as a list of mistakes.
func lines(s string) string {
	all := strings.Split(s, "\n")
	for i := range all {
		all[i] = oneLine(all[i])
	}
	return strings.Join(all, "\n")
}

// oneLine keeps untrusted text on its line, without characters that drive a
// terminal, change how others are shown or cannot be seen.
func oneLine(s string) string {
	return event.Escape(strings.NewReplacer("\t", " ", "\n", " ", "\r", " ").Replace(s))
}
