package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/spf13/cobra"
)

func (p *program) newKey() *cobra.Command {
	var algorithm string
	cmd := &cobra.Command{
		Use: "new FILE", Short: "Make a client's key pair, and print its JWK Set",
		Long: `Make the key pair of a client that authenticates by private_key_jwt (RFC 7523).
The private key goes into FILE, a JWK that only you can read and that is never
overwritten; name it as private_key of a connection, or give it to
client.PrivateKey. The JWK Set with the public key is printed: it goes to the
server with 'client change --jwks', or to the provider.

It takes none of the flags that say where a server is.`,
		Example: `  counterfoil key new billing.jwk > billing.jwks.json
  counterfoil client change acme 4cf5… --jwks billing.jwks.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, place := range []string{"dir", "serve-config", "server"} {
				if cmd.Flags().Changed(place) {
					return usagef("--%s is for signing keys of a server: 'key new' makes the key of a client, here", place)
				}
			}
			if err := oneOf("algorithm", algorithm, jose.ES256, jose.EdDSA, jose.PS256, jose.RS256); err != nil {
				return err
			}
			return p.makeKey(args[0], algorithm)
		},
	}
	cmd.Flags().StringVar(&algorithm, "algorithm", jose.ES256, "what it signs with: ES256, EdDSA, PS256 or RS256")
	_ = cmd.RegisterFlagCompletionFunc(
		"algorithm",
		cobra.FixedCompletions([]string{jose.ES256, jose.EdDSA, jose.PS256, jose.RS256}, cobra.ShellCompDirectiveNoFileComp),
	)
	return cmd
}

// makeKey writes a new private key to file and prints the JWK Set. If the set
// cannot be printed, the key is removed again.
func (c *console) makeKey(file, algorithm string) error {
	signer, err := jose.Generate(algorithm)
	if err != nil {
		return err
	}
	id, err := jose.Thumbprint(signer.Public())
	if err != nil {
		return err
	}
	private, err := jose.MarshalPrivateKey(jose.PrivateKey{ID: id, Algorithm: algorithm, Key: signer})
	if err != nil {
		return err
	}
	set, err := jose.MarshalSet([]jose.PublicKey{{ID: id, Algorithm: algorithm, Key: signer.Public()}})
	if err != nil {
		return err
	}
	if err := writeNew(file, append(private, '\n')); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // a closed reader is an error, like a full disk
	if closedOutput() {
		err = errors.New("write the output: it is closed")
	} else {
		_, err = fmt.Fprintf(c.Out, "%s\n", set)
	}
	if err != nil {
		if failed := os.Remove(file); failed != nil {
			return withHint(errors.Join(err, failed), "remove %s yourself: nobody has its public key", file)
		}
		return withHint(err, "%s is removed again: try again", file)
	}
	if c.output == text {
		fmt.Fprintf(c.Err, "%s has the private key: keep it, and give the JWK Set to the server\n", oneLine(file))
	}
	return nil
}

// writeNew writes a file that only this user can read. It never overwrites a
// file.
func writeNew(file string, content []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return withHint(fmt.Errorf("%s is there already", file), "name another file: a key is never overwritten")
	}
	if err != nil {
		return withHint(err, "name a file in a directory that you may write to")
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = files.SyncDir(filepath.Dir(file))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}
