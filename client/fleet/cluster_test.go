//go:build unix

package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
	"github.com/counterfoil/counterfoil/client/fleet"
	"github.com/counterfoil/counterfoil/internal/eventually"
)

// cluster is one of three real nodes, which know each other and serve all slots.
type cluster struct {
	nodes []*server
	urls  []string
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{}
	var buses []string
	slots := []string{"0", "5460", "5461", "10922", "10923", "16383"}
	for i := range 3 {
		port, bus := freePort(t), freePort(t)
		node := start(t, "--port", port, "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", bus)
		equal(t, "CLUSTER SET-CONFIG-EPOCH", node.ask("CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1)), "+OK")
		equal(t, "CLUSTER ADDSLOTSRANGE", node.ask("CLUSTER", "ADDSLOTSRANGE", slots[2*i], slots[2*i+1]), "+OK")
		c.nodes, c.urls, buses = append(c.nodes, node), append(c.urls, "127.0.0.1:"+port), append(buses, bus)
		equal(t, "ACL SETUSER", node.ask(user("passw0rd-of-the-server", "+cluster|slots", "+cluster|shards", "+asking")...), "+OK")
		if i == 0 {
			continue
		}
		equal(t, "CLUSTER MEET", c.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", port, buses[i]), "+OK")
	}
	for _, node := range c.nodes {
		eventually.True(t, "the cluster is whole", func() bool {
			info := node.ask("CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	return c
}

func (c *cluster) config() fleet.Config {
	f := config("")
	f.URL = "redis://fleet@" + c.urls[0] + "?addr=" + strings.Join(c.urls[1:], "&addr=")
	f.Password = client.Static("passw0rd-of-the-server")
	return f
}

func (c *cluster) clear() {
	for _, node := range c.nodes {
		node.ask("FLUSHALL")
	}
}

// A cluster keeps what every cache promises, wherever a key lies, and tells all
// processes of changes at any of its nodes.
func TestCluster(t *testing.T) {
	c := startCluster(t)
	cachetest.Run(t, func(t *testing.T) client.Cache {
		c.clear()
		return open(t, c.config())
	})
	t.Run("keys of all nodes are shared", func(t *testing.T) {
		c.clear()
		one, two := open(t, c.config()), open(t, c.config())
		var keys []string
		for i := range 20 {
			keys = append(keys, fmt.Sprintf("%02x-1", i))
			renewed(t, one, keys[i], give("one"))
			equal(t, "the second takes it", renewed(t, two, keys[i], neverFetch(t)), "one")
		}
		for _, node := range c.nodes {
			if size := node.ask("DBSIZE"); size == ":0" {
				t.Error("a node has none of them")
			}
		}
		for _, key := range keys {
			renewed(t, one, key, rejecting("one", fetches("two")))
			knows(t, two, key, "two")
		}
		for _, key := range keys[:10] {
			if err := two.Drop(t.Context(), key, cachetest.Token("two")); err != nil {
				t.Fatal(err)
			}
			knows(t, one, key, "")
		}
		if err := one.Clear(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			knows(t, two, key, "")
		}
	})
}

// agreed waits until all nodes have heard of what the others have and since when.
// A slot that goes on before that can be lost: its new node takes its own epoch for
// the latest, and the one before claims the slot back with a later one.
func (c *cluster) agreed(t *testing.T) {
	t.Helper()
	eventually.True(t, "the nodes agree", func() bool {
		views := map[string]bool{}
		for _, node := range c.nodes {
			var view []string
			for line := range strings.Lines(node.ask("CLUSTER", "NODES")) {
				if f := strings.Fields(line); len(f) >= 8 { // its ID, its epoch, its slots
					view = append(view, strings.Join(append([]string{f[0], f[6]}, f[8:]...), " "))
				}
			}
			slices.Sort(view)
			views[strings.Join(view, "\n")] = len(view) == len(c.nodes)
		}
		return len(views) == 1 && slices.Collect(maps.Values(views))[0]
	})
}

// migrate moves the slot of that key from one node to another, as redis-cli
// --cluster reshard does. Between its keys and the slot itself it does meanwhile.
func (c *cluster) migrate(t *testing.T, key string, from, to int, meanwhile func()) {
	t.Helper()
	slot := strings.TrimPrefix(c.nodes[0].ask("CLUSTER", "KEYSLOT", entryOf(key)), ":")
	ids := [2]string{c.nodes[from].ask("CLUSTER", "MYID"), c.nodes[to].ask("CLUSTER", "MYID")}
	equal(t, "IMPORTING", c.nodes[to].ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0]), "+OK")
	equal(t, "MIGRATING", c.nodes[from].ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1]), "+OK")
	host, port, _ := strings.Cut(c.urls[to], ":")
	eventually.True(t, "the slot is empty", func() bool { // what is written meanwhile goes to the other node
		if answer := c.nodes[from].ask("MIGRATE", host, port, entryOf(key), "0", "5000"); answer != "+OK" && answer != "+NOKEY" {
			t.Fatalf("MIGRATE: %s", answer)
		}
		return c.nodes[from].ask("CLUSTER", "COUNTKEYSINSLOT", slot) == ":0"
	})
	meanwhile()
	for _, node := range []int{to, from, 3 - from - to} {
		equal(t, "NODE", c.nodes[node].ask("CLUSTER", "SETSLOT", slot, "NODE", ids[1]), "+OK")
	}
}

// owner is the node that serves the slot of that key.
func (c *cluster) owner(key string) int {
	for i, node := range c.nodes {
		if !strings.HasPrefix(node.ask("HGET", entryOf(key), "g"), "-MOVED") {
			return i
		}
	}
	return -1
}

// Slots go from node to node while tokens are renewed: each renewal takes one
// request, also when the lease was taken at another node, nobody loses the server,
// and all have the latest.
func TestReshardingWhileTokensAreRenewed(t *testing.T) {
	c := startCluster(t)
	var told states
	var caches []*fleet.Cache
	for range 4 {
		f := c.config()
		f.OnState = told.told
		caches = append(caches, open(t, f))
	}
	renewed(t, caches[0], key, give("token-0"))
	for _, cache := range caches[1:] {
		knowsAfterAsking(t, cache, "token-0")
	}
	latest := "token-0"
	for round := 1; round <= 9; round++ {
		c.agreed(t)
		from := c.owner(key)
		to := (from + 1 + round%2) % 3
		next := fmt.Sprintf("token-%d", round)
		var fetched atomic.Int32
		var all sync.WaitGroup
		moved := make(chan struct{})
		renew := func() {
			for _, cache := range caches {
				r := rejecting(latest, func(context.Context) (counterfoil.Token, error) {
					fetched.Add(1)
					if round%3 == 0 { // the lease moves
						<-moved
					}
					return cachetest.Token(next), nil
				})
				all.Go(func() {
					if got, err := cache.Renew(t.Context(), key, r); err != nil || got.Value.Reveal() != next {
						t.Errorf("round %d: got %q, %v", round, got.Value.Reveal(), err)
					}
				})
			}
		}
		if round%3 != 1 {
			renew()
		}
		if round%3 == 0 {
			eventually.True(t, "the token is asked for", func() bool { return fetched.Load() > 0 })
		}
		c.migrate(t, key, from, to, func() {
			if round%3 == 1 { // all of it with a slot that is on its way
				renew()
				all.Wait()
			}
		})
		close(moved)
		all.Wait()
		equal(t, fmt.Sprintf("requests of round %d", round), fetched.Load(), 1)
		for _, cache := range caches {
			knows(t, cache, key, next)
		}
		if size := len(c.nodes[to].ask("HGET", entryOf(key), "t")); size <= 8 {
			t.Errorf("round %d: the entry is not at its new node", round)
		}
		latest = next
	}
	equal(t, "told", told.text(), "[]")
}

// Where the user may not ask a slot's new node before the slot is there, the nodes
// name each other: that ends with an error, and not with the time.
func TestNodesThatNameEachOther(t *testing.T) {
	c := startCluster(t)
	cache := open(t, c.config())
	renewed(t, cache, key, give("one"))
	for _, node := range c.nodes {
		equal(t, "ACL SETUSER", node.ask("ACL", "SETUSER", "fleet", "-asking"), "+OK")
	}
	c.agreed(t)
	from := c.owner(key)
	c.migrate(t, key, from, (from+1)%3, func() {
		_, err := cache.Renew(t.Context(), key, neverFetchNothingAccepted(t))
		if !errors.Is(err, client.ErrCacheLost) || !strings.Contains(err.Error(), "the server answers") {
			t.Errorf("got %v", err)
		}
	})
	r := rejecting("one", fetches("two"))
	eventually.True(t, "it works again", func() bool {
		got, err := cache.Renew(t.Context(), key, r)
		return err == nil && got.Value == "two"
	})
}
