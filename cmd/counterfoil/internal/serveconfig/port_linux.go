package serveconfig

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mayListen reports whether this process may listen on that port: see
// capabilities(7) and ip_unprivileged_port_start in ip(7).
func mayListen(port int) bool {
	first := 1024
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			first = n
		}
	}
	if port >= first {
		return true
	}
	var has [2]unix.CapUserData
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &has[0])
	return err != nil || has[0].Effective&(1<<unix.CAP_NET_BIND_SERVICE) != 0
}
