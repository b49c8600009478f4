package fleet_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
	"github.com/counterfoil/counterfoil/client/fleet"
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
		equal(t, "ACL SETUSER", node.ask(user("passw0rd-of-the-server", "+cluster|slots", "+cluster|shards")...), "+OK")
		if i == 0 {
			continue
		}
		equal(t, "CLUSTER MEET", c.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", port, buses[i]), "+OK")
	}
	for _, node := range c.nodes {
		eventually(t, "the cluster is whole", func() bool {
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
