package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/counterfoil/counterfoil/internal/files"
)

// CertificateFunc returns a certificate with its private key. It must be safe
// for concurrent use.
type CertificateFunc func(context.Context) (*tls.Certificate, error)

// maxCertificateFile bounds a file of CertificateFiles, in bytes.
const maxCertificateFile = 1 << 20

// CertificateFiles returns a CertificateFunc that reads PEM files, which may be
// the same: the certificate with its intermediates, and its key. It reads them
// again when they change. While they do not match, because only one has been
// replaced yet, it returns the previous pair.
//
// A key that other users can write, by the mode of its file or because one of
// them owns it, is refused: they could impersonate this program. It must belong
// to the program's user or to root. A key that others can read is accepted,
// because mounts of secrets have such modes; keep your own at mode 0600.
func CertificateFiles(certificate, key string) CertificateFunc {
	f := &certificateFiles{names: [2]string{certificate, key}}
	return f.get
}

type certificateFiles struct {
	names [2]string

	mu   sync.Mutex
	last *tls.Certificate
	seen [2]os.FileInfo // of last
}

func (f *certificateFiles) get(context.Context) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var now [2]os.FileInfo
	var text [2][]byte
	var err error
	for i, name := range f.names {
		if now[i], err = os.Stat(name); err != nil {
			return f.before(err)
		}
	}
	if f.last != nil && unchanged(now[0], f.seen[0]) && unchanged(now[1], f.seen[1]) && files.Foreign(now[1]) == nil {
		return f.last, nil
	}
	for i, name := range f.names {
		var read os.FileInfo
		if text[i], read, err = readBounded(name, maxCertificateFile); err != nil {
			return f.before(err)
		}
		if i != 1 {
			continue
		}
		if err := files.Foreign(read); err != nil { // even if there is a previous pair
			return nil, fmt.Errorf("key %s: %w", name, err)
		}
	}
	pair, err := tls.X509KeyPair(text[0], text[1])
	if err != nil {
		return f.before(fmt.Errorf("certificate %s with key %s: %w", f.names[0], f.names[1], err))
	}
	f.last, f.seen = &pair, now
	return f.last, nil
}

// before returns the last valid pair, or err without one.
func (f *certificateFiles) before(err error) (*tls.Certificate, error) {
	if f.last != nil {
		return f.last, nil
	}
	return nil, err
}

func unchanged(a, b os.FileInfo) bool {
	return a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a, b)
}

// readBounded also returns the file's info.
func readBounded(name string, limit int64) ([]byte, os.FileInfo, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	if err == nil {
		text, err = files.Text(text)
	}
	return text, info, err
}
