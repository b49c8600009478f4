package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/metrics"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// topOptions are the flags of 'top'.
type topOptions struct {
	realm, metrics string
	limit          int
	interval       time.Duration
	once           bool
}

func (p *program) topCommand() *cobra.Command {
	o := &operator{program: p}
	var t topOptions
	cmd := &cobra.Command{
		Use: "top", Short: "Show the clients of the last hour, failures, blocks and latency",
		Long: `Show which clients requested tokens and called APIs in the last hour, whose
requests failed and why, who has to wait, and how long token requests take. On a
terminal it refreshes until it is interrupted; otherwise, and with -o json, it
prints once.

What clients did is in the audit record; failures are counted for the client that
they claimed to be from. The latency is that of the metrics, if the server has
them: since its start, then since the last refresh.`,
		Example: `  counterfoil top
  counterfoil top --realm a55 --once
  counterfoil top --serve-config /etc/counterfoil/serve.yaml -o json
  counterfoil top --server ops --metrics 10.0.0.7:9090`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.limit < 1 {
				return usagef("--limit must be 1 or more")
			}
			if t.interval < time.Second {
				return usagef("--interval must be 1s or more")
			}
			return o.reading(cmd, func(ctx context.Context, service admin.Service) error {
				at := cmp.Or(t.metrics, o.metrics)
				return o.watchTop(ctx, service, t, at)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&t.realm, "realm", "", "only this realm")
	f.StringVar(&t.metrics, "metrics", "", "HOST:PORT of the server's metrics (default: that of its configuration, or of 'up')")
	f.IntVar(&t.limit, "limit", 20, "how many clients to show")
	f.DurationVar(&t.interval, "interval", 5*time.Second, "time between two refreshes")
	f.BoolVar(&t.once, "once", false, "print once, also on a terminal")
	o.flags(cmd)
	return cmd
}

// topView is what 'top' shows.
type topView struct {
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
	Tokens   int64     `json:"tokens"`
	Calls    int64     `json:"calls"`
	Failures int64     `json:"failures"`
	// Clients are the busiest, and More is how many others there were.
	Clients []topRow `json:"clients"`
	More    int      `json:"more,omitempty"`
	// Blocks are those who have to wait.
	Blocks []limits.Block `json:"blocks"`
	// Latency is absent where it is not known, and Trouble says why.
	Latency *topLatency `json:"latency,omitempty"`
	Trouble string      `json:"latency_unknown,omitempty"`
}

// topLatency is how long token requests took, in seconds.
type topLatency struct {
	Requests float64 `json:"requests"`
	P50      float64 `json:"p50_seconds"`
	P95      float64 `json:"p95_seconds"`
	P99      float64 `json:"p99_seconds"`
}

// watchTop prints once, or until ctx ends.
func (p *program) watchTop(ctx context.Context, service admin.Service, t topOptions, at string) error {
	h := &hour{realm: t.realm, minutes: map[int64]map[topKey]*topCount{}}
	width, height := p.screen()
	repeat := width > 0 && !t.once && p.output == text
	var before metrics.Latency
	for {
		v, latency, err := p.top1(ctx, service, h, t, at, before)
		if err != nil {
			if repeat && ctx.Err() != nil {
				return nil
			}
			return err
		}
		before = latency
		if p.output == jsonForm {
			enc := json.NewEncoder(p.Out)
			enc.SetEscapeHTML(false)
			return enc.Encode(v)
		}
		if !repeat {
			return v.write(p.Out, width)
		}
		if err := p.redraw(v, width, height); err != nil {
			return err
		}
		if p.clock.Sleep(ctx, t.interval) != nil {
			return nil
		}
		width, height = p.screen()
	}
}

// redraw replaces what is on the screen, and cuts off what it has no room for.
func (p *program) redraw(v *topView, width, height int) error {
	var text bytes.Buffer
	if err := v.write(&text, width); err != nil {
		return err
	}
	lines := strings.SplitAfter(text.String(), "\n")
	if n := max(1, height-1); len(lines) > n {
		lines = lines[:n]
	}
	_, err := io.WriteString(p.Out, "\x1b[H\x1b[2J"+strings.Join(lines, ""))
	return err
}

// top1 reads what there is now.
func (p *program) top1(
	ctx context.Context, service admin.Service, h *hour, t topOptions, at string, before metrics.Latency,
) (*topView, metrics.Latency, error) {
	now := p.clock.Now()
	if err := h.read(ctx, service, now); err != nil {
		return nil, nil, err
	}
	blocks, err := service.Blocks(ctx)
	if err != nil {
		return nil, nil, err
	}
	v := &topView{Since: now.Add(-topWindow).UTC().Truncate(time.Second), Until: now.UTC().Truncate(time.Second), Blocks: []limits.Block{}}
	for _, b := range blocks {
		if t.realm == "" || b.Realm == "" || b.Realm == t.realm {
			v.Blocks = append(v.Blocks, b)
		}
	}
	v.Clients = h.rows()
	for _, r := range v.Clients {
		v.Tokens, v.Calls, v.Failures = v.Tokens+r.Tokens, v.Calls+r.Calls, v.Failures+r.Failures
	}
	if n := len(v.Clients); n > t.limit {
		v.Clients, v.More = v.Clients[:t.limit], n-t.limit
	}
	latency, err := p.latency(ctx, v, t.realm, at, before)
	return v, latency, err
}

// latency reads the latency. Where the metrics cannot be read, the rest is shown.
func (p *program) latency(ctx context.Context, v *topView, realm, at string, before metrics.Latency) (metrics.Latency, error) {
	if at == "" {
		v.Trouble = "the server shows no metrics here: name them with --metrics HOST:PORT"
		return nil, nil
	}
	all, err := metrics.ReadLatency(ctx, at, realm)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		v.Trouble = fmt.Sprintf("the metrics at %s cannot be read: %v", at, err)
		return nil, nil
	}
	l := all.Since(before)
	v.Latency = &topLatency{l.Count(), l.Quantile(.5).Seconds(), l.Quantile(.95).Seconds(), l.Quantile(.99).Seconds()}
	return all, nil
}

// screen returns the size of the terminal that is written to; 0 when the output is
// not a terminal.
func (c *console) screen() (columns, lines int) {
	out := c.Out
	if checked, ok := out.(*checkedWriter); ok {
		out = checked.w
	}
	if f, ok := out.(*os.File); ok {
		if columns, lines, err := term.GetSize(int(f.Fd())); err == nil {
			return columns, lines
		}
	}
	return 0, 0
}

// shownBlocks is how many blocks are on the screen: 'counterfoil blocks' lists all.
const shownBlocks = 5

// write writes the view for a person.
func (v *topView) write(w io.Writer, width int) error {
	fmt.Fprintf(
		w, "%s  last hour: %d tokens, %d calls, %d failures; %d waiting or blocked\n", v.Until.Format(time.RFC3339), v.Tokens, v.Calls, v.Failures,
		len(v.Blocks),
	)
	switch seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }; {
	case v.Latency == nil:
		fmt.Fprintf(w, "latency unknown: %s\n", oneLine(v.Trouble))
	case v.Latency.Requests == 0:
		fmt.Fprintln(w, "latency: no token requests")
	default:
		fmt.Fprintf(w, "latency of %.0f token requests: half within %v, 95%% within %v, 99%% within %v\n", v.Latency.Requests,
			seconds(v.Latency.P50), seconds(v.Latency.P95), seconds(v.Latency.P99))
	}
	fmt.Fprintln(w)
	t := newTable(w, "REALM", "CLIENT ID", "TOKENS", "CALLS", "FAILURES", "MOSTLY")
	t.width = width
	for _, r := range v.Clients {
		if err := t.row(
			cmp.Or(oneLine(r.Realm), "-"), cmp.Or(oneLine(r.ClientID), "-"), fmt.Sprint(r.Tokens), fmt.Sprint(r.Calls), fmt.Sprint(r.Failures),
			string(r.Reason),
		); err != nil {
			return err
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	if v.More > 0 {
		fmt.Fprintf(w, "and %d others: --limit shows more\n", v.More)
	}
	if len(v.Blocks) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t = newTable(w, "WAITS", "REALM", "CLIENT ID", "UNTIL")
	t.width = width
	for _, b := range v.Blocks[:min(shownBlocks, len(v.Blocks))] {
		if err := t.row(
			b.Prefix.String(), cmp.Or(oneLine(b.Realm), "any"), cmp.Or(oneLine(b.ClientID), "any"), b.Until.UTC().Format(time.RFC3339),
		); err != nil {
			return err
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	if n := len(v.Blocks) - shownBlocks; n > 0 {
		fmt.Fprintf(w, "and %d others: 'counterfoil blocks' lists them\n", n)
	}
	return nil
}

// metricsFile says where the metrics of a running 'up' are.
func (d dataDir) metricsFile() string { return filepath.Join(string(d), "metrics") }

// metricsAt returns HOST:PORT of the metrics of a running 'up'; "" for none.
func (d dataDir) metricsAt() string {
	text, err := readBounded(d.metricsFile())
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
