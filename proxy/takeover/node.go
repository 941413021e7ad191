package takeover

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/fairwaynet/fairway/proxy/healthcheck"
	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/nft/legacy"
	"github.com/fairwaynet/fairway/proxy/service"
)

// Dummy is the interface to which kube-proxy's mode ipvs gives the addresses of Services.
const Dummy = "kube-ipvs0"

// Node finds what a node has of kube-proxy, and removes it. Its methods are for one goroutine.
type Node struct {
	Engine *nft.Engine
	Now    func() time.Time

	stuck map[nft.TableKey][]string // chains that could not be removed
	read  struct {                  // of the rules in an outline
		outline    nft.Outline
		withdrawal nft.Withdrawal
		kept       []string
	}

	programs []string // of Found.Legacy
	asked    time.Time
}

// Look returns what the node has of kube-proxy. What can be removed, and what stays, is of
// interest only if it is to be removed, and costs more.
func (n *Node) Look(ctx context.Context, remove bool) (Found, error) {
	f := Found{Answers: answers(ctx)}
	o, err := n.Engine.Outline(ctx)
	if err != nil {
		return f, err
	}
	f.Nftables, f.Iptables = traces(o)
	if _, err := net.InterfaceByName(Dummy); err == nil {
		f.IPVS = true
	}
	if f.Legacy, err = n.legacy(); err != nil || !remove {
		return f, err
	}
	if f.Answers { // its rules are read when it is gone
		f.Rest = len(f.Nftables)+len(f.Iptables) > 0
		return f, nil
	}
	var w nft.Withdrawal
	w, f.Kept, err = n.withdrawal(ctx, o)
	f.Rest = !w.Empty()
	return f, err
}

// traces are the tables of an outline that lead packets by kube-proxy.
func traces(o nft.Outline) (own, shared []string) {
	for _, k := range ownTables() {
		if o.Has(k, "") {
			own = append(own, k.String())
		}
	}
	for _, k := range sharedTables() {
		if slices.ContainsFunc(o.Chains(k), func(chain string) bool { return serves(k, chain) }) {
			shared = append(shared, k.String())
		}
	}
	return own, shared
}

// withdrawal reads the rules of the tables in which kube-proxy has chains, unless they are as
// they were: there may be many.
func (n *Node) withdrawal(ctx context.Context, o nft.Outline) (nft.Withdrawal, []string, error) {
	if o.Same(n.read.outline) {
		return n.read.withdrawal, n.read.kept, nil
	}
	links := map[nft.TableKey][]nft.Link{}
	for _, k := range sharedTables() {
		if !slices.ContainsFunc(o.Chains(k), func(chain string) bool { return proxys(k, chain) }) {
			continue
		}
		all, err := n.Engine.Links(ctx, o, k)
		if err != nil {
			return nft.Withdrawal{}, nil, err
		}
		links[k] = all
	}
	w, kept := withdrawal(o, links)
	for k, stuck := range n.stuck {
		rest := slices.DeleteFunc(w.Chains[k], func(chain string) bool {
			if !slices.Contains(stuck, chain) {
				return false
			}
			kept = append(kept, named(chain, k))
			return true
		})
		if w.Chains[k] = rest; len(rest) == 0 {
			delete(w.Chains, k)
		}
	}
	n.read.outline, n.read.withdrawal, n.read.kept = o, w, kept
	return w, kept, nil
}

// Remove takes away what kube-proxy has left and nobody else uses.
func (n *Node) Remove(ctx context.Context) error {
	const attempts = 5 // others may write meanwhile
	var err error
	for range attempts {
		if err = n.remove(ctx); !errors.Is(err, nft.ErrChanged) {
			break
		}
	}
	return err
}

func (n *Node) remove(ctx context.Context) error {
	o, err := n.Engine.Outline(ctx)
	if err != nil {
		return err
	}
	w, _, err := n.withdrawal(ctx, o)
	if err != nil {
		return err
	}
	if err := n.Engine.Withdraw(ctx, o, w); err != nil {
		return err
	}
	after, err := n.Engine.Outline(ctx)
	if err != nil {
		return err
	}
	n.note(w, after)
	return nil
}

// note keeps which chains are still there after a removal.
func (n *Node) note(removed nft.Withdrawal, after nft.Outline) {
	stuck := map[nft.TableKey][]string{}
	for _, k := range sharedTables() {
		for _, chain := range append(n.stuck[k], removed.Chains[k]...) {
			if after.Has(k, chain) {
				stuck[k] = append(stuck[k], chain)
			}
		}
	}
	n.stuck = stuck
}

// legacy are the programs whose tables have chains of kube-proxy. To read a table costs as
// much as it is long, so it is not done at every look.
func (n *Node) legacy() ([]string, error) {
	const interval = 20 * time.Second
	if now := n.Now(); n.asked.IsZero() || now.Sub(n.asked) >= interval {
		programs, err := legacyPrograms()
		if err != nil {
			return n.programs, err
		}
		n.programs, n.asked = programs, now
	}
	return n.programs, nil
}

func legacyPrograms() ([]string, error) {
	var all []string
	for i, family := range legacy.Families() {
		tables, err := family.Tables()
		if err != nil {
			return nil, err
		}
		has := false
		for _, table := range tables {
			k := nft.TableKey{Family: families()[i], Name: table}
			if has || hooked[table] == nil {
				continue
			}
			chains, err := family.Chains(table)
			if err != nil {
				return nil, err
			}
			has = slices.ContainsFunc(chains, func(chain string) bool { return serves(k, chain) })
		}
		if has {
			all = append(all, family.Program+"-legacy")
		}
	}
	return all, nil
}

// answers says whether a kube-proxy answers at Address. It says when it last updated its
// rules; another program would not. One that does not answer in time runs, too.
func answers(ctx context.Context) bool {
	const patience, most = 2 * time.Second, 4096
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+Address+"/healthz", nil)
	if err != nil {
		return false
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy
	response, err := client.Do(request)
	if err != nil {
		return errors.Is(err, context.DeadlineExceeded)
	}
	defer response.Body.Close()
	if response.Header.Get("Server") == healthcheck.ServerName {
		return false // Fairway's own answer, also that of the agent before this one
	}
	var health struct {
		LastUpdated any `json:"lastUpdated"`
	}
	err = json.NewDecoder(io.LimitReader(response.Body, most)).Decode(&health)
	return err == nil && health.LastUpdated != nil
}

// Serves says whether the kernel has Services of Fairway.
func (n *Node) Serves(ctx context.Context) (bool, error) {
	for _, f := range families() {
		if serves, err := n.Engine.Filled(ctx, service.Key(f), service.Led); serves || err != nil {
			return serves, err
		}
	}
	return false, nil
}
