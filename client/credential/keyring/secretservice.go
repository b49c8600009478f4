//go:build (dragonfly && cgo) || (freebsd && cgo) || linux || netbsd || openbsd

package keyring

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"

	"github.com/godbus/dbus/v5"
)

// reachable reports whether there is a session bus. Without one the library
// would start its own, which has no keyring.
func reachable() error {
	if address := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" && address != "autolaunch:" {
		return nil
	}
	for _, name := range []string{"bus", "dbus-session"} {
		if _, err := os.Stat(fmt.Sprintf("/run/user/%d/%s", os.Getuid(), name)); err == nil {
			return nil
		}
	}
	return errNoKeyring
}

var errorName = regexp.MustCompile(`^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){1,10}$`)

// inWords explains the name of a D-Bus error.
func inWords(err error) error {
	e, ok := errors.AsType[dbus.Error](err)
	switch {
	case !ok:
		if strings.HasPrefix(err.Error(), "failed to unlock") {
			return errors.New("the keyring is locked, and nobody unlocked it: unlock it")
		}
		// The library keeps its connection, so a bus that has gone first appears
		// as a broken connection.
		network := new(net.OpError)
		if errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, dbus.ErrClosed) {
			return errNoKeyring
		}
		return errUnread
	case e.Name == "org.freedesktop.DBus.Error.ServiceUnknown", e.Name == "org.freedesktop.DBus.Error.NameHasNoOwner",
		e.Name == "org.freedesktop.DBus.Error.NoReply", strings.HasPrefix(e.Name, "org.freedesktop.DBus.Error.Spawn."):
		return errNoKeyring
	case len(e.Name) <= 128 && errorName.MatchString(e.Name):
		return fmt.Errorf("%w (%s)", errUnread, e.Name)
	}
	return errUnread
}
