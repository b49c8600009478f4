package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/counterfoil/counterfoil"
)

// supervised tells the service manager the state of this process, if there is one
// that asked for it by $NOTIFY_SOCKET (sd_notify(3) of systemd).
func supervised(log *slog.Logger) func(state string) {
	return func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			log.Warn("the service manager cannot be told the state of this process", "state", state, "error", err)
		}
	}
}

// watchdog tells the service manager regularly that this process works, until ctx
// ends: within is how often it must be told. It is not told while alive, which
// goes the way of every write, does not return; that alive fails, as on a full
// disk, is no reason for a restart.
func watchdog(ctx context.Context, c counterfoil.Clock, within time.Duration, alive func(context.Context) error, notify func(string)) {
	for within > 0 && c.Sleep(ctx, within/3) == nil {
		_ = alive(ctx)
		notify(daemon.SdNotifyWatchdog)
	}
}

// watchedWithin is how often the service manager wants to be told; 0 for never.
func watchedWithin(log *slog.Logger) time.Duration {
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the service manager's watchdog is not served", "error", err)
	}
	return within
}
