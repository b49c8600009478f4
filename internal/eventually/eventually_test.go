package eventually_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/counterfoil/counterfoil/internal/eventually"
)

// failing is a test whose failure is kept.
type failing struct {
	testing.TB
	said    string
	cleanup func()
}

func (f *failing) Errorf(format string, args ...any) { f.said = fmt.Sprintf(format, args...) }
func (f *failing) Fatalf(format string, args ...any) { f.Errorf(format, args...); runtime.Goexit() }
func (f *failing) Cleanup(cleanup func())            { f.cleanup = cleanup }

func TestTrue(t *testing.T) {
	n := 0
	eventually.True(t, "the count is 200", func() bool { n++; return n == 200 })
	synctest.Test(t, func(t *testing.T) {
		f, ended := &failing{TB: t}, make(chan struct{})
		go func() {
			defer close(ended)
			eventually.True(f, "it is so", func() bool { return false })
		}()
		<-ended
		if !strings.HasPrefix(f.said, "never: it is so\n") || !strings.Contains(f.said, "TestTrue") {
			t.Errorf("it said %q", f.said)
		}
	})
}

func TestNoGoroutineIsLeft(t *testing.T) {
	for _, left := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f, end := &failing{TB: t}, make(chan struct{})
			eventually.NoGoroutineIsLeft(f)
			go func() { <-end }()
			if !left {
				close(end)
			}
			f.cleanup()
			if strings.Contains(f.said, "TestNoGoroutineIsLeft") != left {
				t.Errorf("it said %q", f.said)
			}
			if left {
				close(end)
			}
		})
	}
}
