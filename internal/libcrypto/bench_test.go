//go:build linux && (amd64 || arm64) && !nolibcrypto

package libcrypto_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
	"testing"
)

// BenchmarkSign compares RS256 with 2,048 bits in crypto/rsa and in libcrypto,
// by one goroutine, by two at once, and by as many as a busy server has.
func BenchmarkSign(b *testing.B) {
	key := newKey(b, 2048)
	signers := []struct {
		name   string
		signer crypto.Signer
	}{{"crypto_rsa", key}, {"libcrypto", newSigner(b, open(b), key)}}
	digest := sha256.Sum256([]byte("the bytes that a token signs"))
	for _, goroutines := range []int{1, 2, 32} {
		for _, s := range signers {
			b.Run(fmt.Sprintf("%s/goroutines=%d", s.name, goroutines), func(b *testing.B) {
				b.ReportAllocs()
				turns := make(chan struct{}, b.N)
				for range b.N {
					turns <- struct{}{}
				}
				close(turns)
				runtime.GC()
				b.ResetTimer()
				var wait sync.WaitGroup
				for range goroutines {
					wait.Go(func() {
						for range turns {
							if _, err := s.signer.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wait.Wait()
			})
		}
	}
}
