package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/server/internal/origin"
	"github.com/counterfoil/counterfoil/server/limits"
)

// Keeper has the blocks of a server: a limits.Limiter of a running one, or a
// limits.File.
type Keeper interface {
	Blocks(ctx context.Context) ([]limits.Block, error)
	Lift(ctx context.Context, lift limits.Lift) (done bool, err error)
}

// Lifted is the result of LiftBlocks.
type Lifted struct {
	// Blocks are those that were lifted.
	Blocks []limits.Block `json:"blocks"`
	// Pending is set if no server is running, or it does not answer: the next one
	// lifts them when it starts.
	Pending bool `json:"pending,omitempty"`
}

type blocksView struct {
	Blocks []limits.Block `json:"blocks"`
}

// liftBody is the request of LiftBlocks.
type liftBody struct {
	Prefix   string `json:"prefix,omitempty"`
	Realm    string `json:"realm,omitempty"`
	ClientID string `json:"client_id,omitempty"`
}

// ParsePrefix reads an address or a network of a Lift.
func ParsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return a.Prefix(a.BitLen())
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, problem(wrongValues, "%s is neither an address nor a network, as 192.0.2.0/24", show(event.Clean(text, maxShown)))
	}
	return p.Masked(), nil
}

// Blocks returns the callers who have to wait.
func (l *Local) Blocks(ctx context.Context) ([]limits.Block, error) {
	if l.Keeper == nil {
		return []limits.Block{}, nil
	}
	return l.Keeper.Blocks(ctx)
}

// LiftBlocks ends the blocks that match, after it has recorded that.
func (l *Local) LiftBlocks(ctx context.Context, lift limits.Lift) (Lifted, error) {
	if lift.Realm != "" {
		if _, err := l.realm(lift.Realm); err != nil {
			return Lifted{}, err
		}
	}
	all, err := l.Blocks(ctx)
	found := Lifted{Blocks: []limits.Block{}}
	var prefixes []string
	for i := range all {
		if lift.Matches(&all[i]) {
			found.Blocks = append(found.Blocks, all[i])
			prefixes = append(prefixes, all[i].Prefix.String())
		}
	}
	if err != nil || len(found.Blocks) == 0 {
		return found, err
	}
	err = origin.Store(l.Store).RecordEvents(ctx, counterfoil.Event{
		Type: counterfoil.EventBlockLifted, Time: l.Clock.Now(), Realm: lift.Realm, ClientID: event.ClientID(lift.ClientID),
		Success: true, Actor: l.Actor, Detail: event.Clean(fmt.Sprintf("%d: %s", len(prefixes), strings.Join(prefixes, " ")), event.MaxClaim),
	})
	if err != nil {
		return Lifted{}, err
	}
	done, err := l.Keeper.Lift(ctx, lift)
	found.Pending = !done
	return found, err
}

// Blocks returns the callers who have to wait.
func (r *Remote) Blocks(ctx context.Context) ([]limits.Block, error) {
	var v blocksView
	err := r.do(ctx, get([]string{"blocks"}), &v)
	return v.Blocks, err
}

// LiftBlocks ends the blocks that match.
func (r *Remote) LiftBlocks(ctx context.Context, lift limits.Lift) (Lifted, error) {
	body := liftBody{Realm: lift.Realm, ClientID: lift.ClientID}
	if lift.Prefix.IsValid() {
		body.Prefix = lift.Prefix.String()
	}
	q, err := withBody(http.MethodPost, []string{"blocks", "lift"}, body)
	if err != nil {
		return Lifted{}, err
	}
	var v Lifted
	err = r.do(ctx, q, &v)
	return v, err
}

func (c *call) blocks() (answer, error) {
	all, err := c.admin.Blocks(c.Context())
	if err != nil {
		return answer{}, err
	}
	return good(blocksView{all})
}

func (c *call) liftBlocks() (answer, error) {
	var b liftBody
	if err := c.body(&b, false); err != nil {
		return answer{}, err
	}
	lift := limits.Lift{Realm: b.Realm, ClientID: b.ClientID}
	if b.Prefix != "" {
		var err error
		if lift.Prefix, err = ParsePrefix(b.Prefix); err != nil {
			return answer{}, err
		}
	}
	lifted, err := c.admin.LiftBlocks(c.Context(), lift)
	if err != nil {
		return answer{}, err
	}
	return good(lifted)
}
