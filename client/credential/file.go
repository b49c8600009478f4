package credential

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential/internal/content"
	"github.com/counterfoil/counterfoil/client/credential/internal/watch"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// Files opens files that hold one secret (PATH) or are environment files
// (PATH#KEY: the value of the line KEY=…). Its zero value works.
//
// A file is watched: each call checks it (one stat) and reads it if it was
// changed, replaced by a rename, or reached through a symbolic link that now
// leads elsewhere, as in a Kubernetes mount. A file that was changed in the last
// 3 s is read at each call, because a second change in the same tick of the file
// system's clock would not show. While it is missing, empty or has no such line,
// as during a replacement that is not by rename, the last value is used for 10
// s.
//
// A file that other users can write, by its mode or because one of them owns it,
// is refused: they could impersonate this program. It must belong to the
// program's user or to root. A file that others can read is accepted, because
// mounts of secrets have such modes; keep your own at mode 0600. A secret has at
// most 64 KiB, an environment file 1 MiB; trailing line ends are removed.
// Environment files are read as sh reads them. Text may begin with a byte order
// mark or be UTF-16.
type Files struct {
	// Dir is the base of relative paths; default the working directory.
	Dir string
	// Loose also accepts files that their group can write and, for root, those
	// of any user. It is for configurations of operators, who get warnings about
	// such files.
	Loose bool
	// Clock is for tests; default the machine's.
	Clock counterfoil.Clock
}

// Open is an Opener.
func (f Files) Open(reference string) (client.SecretFunc, error) {
	place, err := content.ParsePlace(reference)
	if err != nil {
		return nil, err
	}
	if !filepath.IsAbs(place.Path) {
		place.Path = filepath.Join(f.Dir, place.Path)
	}
	if f.Clock == nil {
		f.Clock = clock.System
	}
	limit := int64(content.MaxSecret)
	if place.Key != "" {
		limit = content.MaxFile
	}
	file := watch.New(
		place.Path, limit, f.Loose, f.Clock,
		func(_ context.Context, b []byte) (counterfoil.Secret, error) { return place.Secret(b) },
	)
	return func(ctx context.Context) (counterfoil.Secret, error) {
		value, err := file.Get(ctx)
		if err != nil {
			return "", fmt.Errorf("secret file:%s: %w", reference, err)
		}
		return value, nil
	}, nil
}
