package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
)

func (o *operator) auditVerify() *cobra.Command {
	var key, proof string
	var kept []string
	cmd := &cobra.Command{
		Use: "verify", Short: "Check that no record was changed, removed, reordered or cut off",
		Long: `Read the whole audit record and check it against the hashes and the signed
checkpoints of its log. It names each record that is not what was recorded, and
exits with 1 when there is one.

Those who hold the log's key can make a log anew. Only a checkpoint that was kept
elsewhere tells: give it with --checkpoint, and the key, as a server has printed
it before, with --key. With --proof it checks a proof that 'audit prove' has
printed, without any server.`,
		Example: `  counterfoil audit verify
  counterfoil audit verify --checkpoint kept-in-march.txt --key counterfoil-audit-log/…
  counterfoil audit verify --proof event-1200.tlog-proof --key counterfoil-audit-log/…`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if proof != "" {
				return o.checkProof(proof, key)
			}
			notes := make([]string, len(kept))
			for i, file := range kept {
				text, err := os.ReadFile(file)
				if err != nil {
					return fmt.Errorf("--checkpoint: %w", err)
				}
				notes[i] = string(text)
			}
			return o.reading(cmd, func(ctx context.Context, service admin.Service) error { return o.verify(ctx, service, key, notes) })
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "the key that the log must be signed with; default, the server's own")
	cmd.Flags().StringArrayVar(&kept, "checkpoint", nil, "a file with a checkpoint that was kept elsewhere; may be repeated")
	cmd.Flags().StringVar(&proof, "proof", "", "check this proof instead")
	return cmd
}

// verifier returns a key that verifies checkpoints.
func verifier(key string) (note.Verifier, error) {
	v, err := note.NewVerifier(key)
	if err != nil {
		return nil, usagef("--key %q is no key of a log: 'audit verify' prints it, in the form NAME+HASH+KEY", key)
	}
	return v, nil
}

func (p *program) verify(ctx context.Context, service admin.Service, key string, kept []string) error {
	log, err := service.AuditLog(ctx)
	if err != nil {
		return err
	}
	if log.Key == "" {
		return errors.New("nothing is signed yet: 'up' or 'serve' signs the first checkpoint within seconds of its start")
	}
	used := key
	if used == "" {
		used = log.Key
	}
	by, err := verifier(used)
	if err != nil {
		return err
	}
	report, err := audit.Verify(ctx, admin.Source(service), audit.Options{Verifier: by, Kept: kept})
	if err != nil {
		return err
	}
	err = p.print(struct {
		audit.Report
		Key string `json:"key"`
	}{report, used}, func(w io.Writer) {
		for _, f := range report.Findings {
			if f.Sequence > 0 {
				fmt.Fprintf(w, "record %d: %s\n", f.Sequence, f.What)
			} else {
				fmt.Fprintln(w, f.What)
			}
		}
		if report.More > 0 {
			fmt.Fprintf(w, "and %d more\n", report.More)
		}
		fmt.Fprintf(w, "log          %s\nrecords      %d, of which %d are in a checkpoint\n", report.Origin, report.Entries, report.Signed)
		fmt.Fprintf(w, "checkpoints  %d, %d of them kept elsewhere\nkey          %s\n", report.Checkpoints, len(kept), used)
		if log.Dropped > 0 {
			fmt.Fprintf(w, "dropped      records up to %d, because of their age: their hashes are left\n", log.Dropped)
		}
		if log.Base > 0 {
			fmt.Fprintf(w, "not covered  records up to %d: they are older than the log\n", log.Base)
		}
	})
	if err != nil {
		return err
	}
	if n := len(report.Findings) + report.More; n > 0 {
		return fmt.Errorf("the audit record is not what was signed: %d findings; keep the database as evidence, and compare it with a backup", n)
	}
	if report.Signed == 0 && report.Entries > 0 {
		return errors.New("nothing is verified: no record is in a checkpoint; 'up' or 'serve' signs one within seconds, " +
			"and if one ran longer, checkpoints were removed: give one that was kept with --checkpoint")
	}
	if p.output == jsonForm {
		return nil
	}
	last := log.Base + report.Signed
	_, err = fmt.Fprintf(p.Out, "verified: up to record %d, nothing was changed, removed, reordered or cut off\n", last)
	if after := report.Entries - report.Signed; after > 0 && err == nil {
		_, err = fmt.Fprintf(p.Out, "not verified yet: the %d records after it, which the next checkpoint covers\n", after)
	}
	return err
}

func (p *program) checkProof(file, key string) error {
	if key == "" {
		return usagef("--proof needs the key of the log: --key, as 'audit verify' prints it")
	}
	by, err := verifier(key)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("--proof: %w", err)
	}
	entry, _, err := audit.CheckProof(string(text), by)
	if err != nil {
		return fmt.Errorf("--proof %s: %w", file, err)
	}
	_, err = fmt.Fprintf(p.Out, "%s\n", entry)
	return err
}

func (o *operator) auditProve() *cobra.Command {
	return &cobra.Command{
		Use: "prove RECORD", Short: "Print a proof that a record is in the log",
		Long: `Print a proof that the record with that sequence number is in the log, in the form
of C2SP tlog-proof. Whoever has the log's key verifies it without any server.

The record in it has no IP address and no user agent, but a commitment to them.
-o json also has these, and the opening of the commitment.`,
		Example: `  counterfoil audit prove 1200 > event-1200.tlog-proof`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sequence, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return usagef("%q is no sequence number: 'audit -o json' has them", args[0])
			}
			return o.reading(cmd, func(ctx context.Context, service admin.Service) error {
				proof, err := audit.Prove(ctx, admin.Source(service), sequence)
				if errors.Is(err, store.ErrNotFound) {
					return fmt.Errorf("there is no proof: %w", err)
				}
				if err != nil {
					return err
				}
				return o.print(struct {
					Entry     string `json:"entry"`
					Address   string `json:"ip_address"`
					UserAgent string `json:"user_agent"`
					Opening   []byte `json:"opening"`
					Proof     string `json:"proof"`
				}{string(proof.Entry), proof.Event.Address, proof.Event.UserAgent, proof.Opening, proof.Text}, func(w io.Writer) {
					fmt.Fprint(w, proof.Text)
				})
			})
		},
	}
}

func (o *operator) auditExport() *cobra.Command {
	return &cobra.Command{
		Use: "export DIRECTORY", Short: "Write the log as files that other programs verify",
		Long: `Write the log up to its latest checkpoint into a directory, as the files of C2SP
tlog-tiles: checkpoint, tile/LEVEL/N and tile/entries/N.`,
		Example: `  counterfoil audit export /srv/audit-log`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.reading(cmd, func(ctx context.Context, service admin.Service) error {
				return audit.Export(ctx, admin.Source(service), args[0])
			})
		},
	}
}
