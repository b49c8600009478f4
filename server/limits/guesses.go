package limits

import (
	"context"
	"net/netip"
	"time"

	"github.com/counterfoil/counterfoil/internal/peer"
)

// Waits after failed authentications over a limit.
const (
	firstWait = time.Second
	// waits is how many times the caller has to wait, each twice as long as the one
	// before, until it is blocked.
	waits = 7
	// perTime is the time that a limit of GuessLimits is for.
	perTime = time.Hour
)

// failures are those of a key. They are forgiven one by one, in equal intervals.
type failures struct {
	// forgiven is when the last one is, until when the key has to wait; both are
	// ticks.
	forgiven, until int64
}

// End is when nothing of them matters any more.
func (f failures) End() int64 { return max(f.forgiven, f.until) }

// interval is the time in which one failure of a limit is forgiven.
func interval(limit int) int64 { return int64(perTime) / int64(limit) }

// add counts one more failure at now.
func (f failures) add(limit int, block time.Duration, now int64) failures {
	each := interval(limit)
	f = f.at(limit, block, now)
	f.forgiven = min(max(f.forgiven, now)+each, now+each*int64(limit+waits+1))
	if over := f.count(limit, now) - limit; over > waits {
		f.until = now + int64(block)
	} else if over > 0 {
		f.until = max(f.until, now+int64(firstWait)<<(over-1))
	}
	return f
}

// count is how many failures are not forgiven.
func (f failures) count(limit int, now int64) int {
	each := interval(limit)
	return int((max(f.forgiven-now, 0) + each - 1) / each)
}

// at returns the failures as they can be at now, after a clock was set back: no
// state reaches further ahead than the longest block.
func (f failures) at(limit int, block time.Duration, now int64) failures {
	f.forgiven = min(f.forgiven, now+interval(limit)*int64(limit+waits+1))
	f.until = min(f.until, now+max(int64(block), int64(firstWait)<<(waits-1)))
	return f
}

// known is until when a client is known somewhere, as a tick.
type known int64

// End is when it no longer is.
func (k known) End() int64 { return int64(k) }

// Attempt is a request that claims to be from a client.
type Attempt struct {
	Realm, ClientID string
	// Address is the caller's. If it is not valid, nothing is counted.
	Address netip.Addr
	// Shared says that Address is or may be that of a proxy, which many callers
	// share: it is not counted by itself.
	Shared bool
}

// counter is one place where an attempt is counted.
type counter struct {
	store Store[failures]
	key   Key
	limit int
	// network says that it counts for a network, not an address.
	network bool
}

// counters are the places where an attempt is counted: the first n.
func (l *Limiter) counters(a *Attempt) (all [4]counter, n int) {
	g := &l.config.Guesses
	address, network := peer.NetworksOf(a.Address)
	all = [4]counter{
		{l.pairs, Key{a.Realm, a.ClientID, address}, g.ClientAddress, false},
		{l.pairs, Key{a.Realm, a.ClientID, network}, g.ClientNetwork, true},
		{l.prefixes, Key{Prefix: address}, g.Address, false},
		{l.prefixes, Key{Prefix: network}, g.Network, true},
	}
	if a.Shared {
		return all, 2
	}
	return all, 4
}

// Verdict is what is known of an attempt before its credentials are looked at.
type Verdict struct {
	// Refuse says that they are not looked at: the answer is 429.
	Refuse bool
	// Wait is how long a stranger has to wait: the answer to wrong credentials is
	// 429 where it is not 0, also to those of a known client.
	Wait time.Duration
	// Known says that the client is known at the address.
	Known bool
	// Prefix is the one that has to wait longest, for the record.
	Prefix netip.Prefix

	fresh bool // known since less than remembered
}

// remembered is how old the time of a success is before it is renewed: at most
// half of the time for which it counts.
const remembered = 12 * time.Hour

// newPlaces is how many addresses a client becomes known at in a day: one that has
// millions does not displace the others.
const newPlaces = 1000

// Look returns what is known of an attempt. It costs the same whether or not the
// client exists.
func (l *Limiter) Look(a *Attempt) Verdict {
	if l.config.Guesses.Mode == Off || !a.Address.IsValid() {
		return Verdict{}
	}
	var v Verdict
	now := l.tick()
	address, network := peer.NetworksOf(a.Address)
	until := int64(l.known.Get(Key{a.Realm, a.ClientID, address}))
	v.Known = until > now
	knownFor := l.config.Guesses.KnownFor
	v.fresh = until > now+int64(knownFor-min(remembered, knownFor/2))
	near := v.Known || int64(l.known.Get(Key{a.Realm, a.ClientID, network})) > now
	all, n := l.counters(a)
	for i := range all[:n] {
		c := &all[i]
		f := c.store.Get(c.key).at(c.limit, l.config.Guesses.Block, now)
		wait := time.Duration(f.until - now)
		if wait <= 0 {
			continue
		}
		if wait > v.Wait {
			v.Wait, v.Prefix = wait, c.key.Prefix
		}
		if !v.Known && !(c.network && near) {
			v.Refuse = true
		}
	}
	if v.Wait > 0 && l.config.Guesses.Mode == Monitor {
		l.monitoredGuess.Warn(context.Background(), l.clock, l.log,
			"a request is over the limit of failed authentications, which is not enforced",
			"prefix", v.Prefix.String(), "realm", a.Realm)
		v.Refuse, v.Wait = false, 0
	}
	return v
}

// Failed counts an attempt whose credentials were wrong. One that had to wait is
// not counted again: those who share its address would wait without end.
func (l *Limiter) Failed(a *Attempt, v *Verdict) {
	if l.config.Guesses.Mode == Off || !a.Address.IsValid() || v.Wait > 0 {
		return
	}
	now, block := l.tick(), l.config.Guesses.Block
	all, n := l.counters(a)
	for i := range all[:n] {
		c, waits, begun := &all[i], false, false
		c.store.Update(c.key, func(f failures) failures {
			was := f.until
			f = f.add(c.limit, block, now)
			waits = f.until > now
			begun = was-now < int64(block)/2 && f.until-now >= int64(block)
			return f
		})
		if waits {
			l.file.changed(true)
		}
		if begun {
			l.begun.Add(1)
			l.blocked.Warn(context.Background(), l.clock, l.log, "too many failed authentications: blocked",
				"prefix", c.key.Prefix.String(), "realm", c.key.Realm, "client_id", c.key.ClientID, "for", seconds(block))
			if l.OnBlock != nil && l.config.Guesses.Mode == Enforce {
				until := l.clock.Now().Round(0).Add(block).UTC()
				l.OnBlock(a, Block{c.key.Prefix, c.key.Realm, c.key.ClientID, until})
			}
		}
	}
}

// Succeeded notes that the client of an attempt has authenticated.
func (l *Limiter) Succeeded(a *Attempt, v *Verdict) {
	if l.config.Guesses.Mode == Off || !a.Address.IsValid() || v.fresh {
		return
	}
	if !v.Known && !l.places.Take(tenantKey{a.Realm, a.ClientID}).Allowed {
		return
	}
	until := known(l.tick() + int64(l.config.Guesses.KnownFor))
	address, network := peer.NetworksOf(a.Address)
	for _, p := range []netip.Prefix{address, network} {
		l.known.Update(Key{a.Realm, a.ClientID, p}, func(k known) known { return max(k, until) })
	}
	l.file.changed(!v.Known)
}

// Forwarded warns that a peer that is no trusted proxy sends forwarding headers,
// and reports whether its address is taken for that of a proxy.
func (l *Limiter) Forwarded(ctx context.Context, by netip.Addr) bool {
	if l.config.Direct {
		return false
	}
	l.forwarded.Warn(ctx, l.clock, l.log, "NO LIMIT BY ADDRESS: a peer that is not in trusted_proxies sends forwarding headers. "+
		"If it is a proxy, name it there: all its callers count as one. If callers connect directly, set limits.direct", "peer", by.String())
	return true
}
