package freshness

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
)

func all(pairs ...string) versions {
	v := versions{}
	for i := 0; i < len(pairs); i += 2 {
		v[name{"shop", pairs[i]}] = pairs[i+1]
	}
	return v
}

func TestWhatIsBehind(t *testing.T) {
	for what, c := range map[string]struct {
		server, before, after versions
		want                  string
	}{
		"nothing":                       {all("a", "1"), all("a", "1"), all("a", "1"), ""},
		"one that never came":           {all("a", "1", "b", "2"), all("a", "1"), all("a", "1"), "b"},
		"one that was on its way":       {all("a", "1", "b", "2"), all("a", "1"), all("a", "1", "b", "2"), ""},
		"a change that never came":      {all("a", "3"), all("a", "1"), all("a", "1"), "a"},
		"a change that was on its way":  {all("a", "3"), all("a", "1"), all("a", "3"), ""},
		"another change has come":       {all("a", "3"), all("a", "1"), all("a", "4"), ""},
		"the cache is ahead":            {all("a", "3"), all("a", "4"), all("a", "4"), ""},
		"an end that never came":        {all(), all("a", "1"), all("a", "1"), "a"},
		"an end that was on its way":    {all(), all("a", "1"), all(), ""},
		"one that ended and came again": {all(), all("a", "1"), all("a", "7"), ""},
	} {
		var got []string
		for _, one := range behind(c.server, c.before, c.after) {
			got = append(got, one.name)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: behind are %v, want %q", what, got, c.want)
		}
	}
}

// fake is a cluster and what a server of it holds.
type fake struct {
	synced  bool
	held    map[string]versions
	there   map[string]versions
	version uint64
	away    error
}

func (f *fake) HasSynced() bool { return f.synced }
func (f *fake) Changed() int64  { return 7 }
func (f *fake) Versions(resource string, asked versions) versions {
	if resource != namespaces {
		return maps.Clone(f.held[resource])
	}
	found := versions{}
	for one := range asked {
		if _, has := f.held[resource][one]; has {
			found[one] = ""
		}
	}
	return found
}

type api struct{ *fake }

func (a api) Count(_ context.Context, resource string) (int64, uint64, error) {
	return int64(len(a.there[resource])), a.version, a.away
}
func (a api) Versions(_ context.Context, resource string) (versions, error) {
	return maps.Clone(a.there[resource]), a.away
}

func TestALook(t *testing.T) {
	for what, c := range map[string]struct {
		change func(f *fake)
		due    bool
		want   string
	}{
		"all is there":                       {func(*fake) {}, true, ""},
		"a Service is missing":               {func(f *fake) { f.there[services][name{"shop", "new"}] = "9" }, false, "The watch of services missed 1 changes, the first of shop/new."},
		"a slice is missing":                 {func(f *fake) { delete(f.held[endpointSlices], name{"shop", "b"}) }, false, "The watch of endpointslices missed 1"},
		"a Service is too much":              {func(f *fake) { f.held[services][name{"shop", "old"}] = "2" }, false, "shop/old"},
		"as many, but others, seen at once":  {func(f *fake) { f.there[services] = all("c", "8") }, false, ""},
		"as many, but others, when it's due": {func(f *fake) { f.there[services] = all("c", "8") }, true, "The watch of services missed 2"},
		"a namespace is missing":             {func(f *fake) { f.there[namespaces][name{"", "new"}] = "9" }, true, "The watch of namespaces missed 1 changes, the first of new."},
		"etcd was restored":                  {func(f *fake) { f.version = 3 }, false, "The API server is at version 3 and was at 10: etcd was restored."},
	} {
		t.Run(what, func(t *testing.T) {
			f := &fake{synced: true, version: 10,
				held:  map[string]versions{services: all("a", "1"), endpointSlices: all("b", "2"), namespaces: {{"", "shop"}: "1"}},
				there: map[string]versions{services: all("a", "1"), endpointSlices: all("b", "2"), namespaces: {{"", "shop"}: "1"}},
			}
			w := &watcher{cache: f, server: api{f}, newest: map[string]uint64{services: 10}}
			c.change(f)
			got, err := w.look(t.Context(), c.due)
			if err != nil || (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("look = %q, %v, want %q", got, err, c.want)
			}
		})
	}
	f := &fake{away: errors.New("it is away")}
	if got, err := (&watcher{cache: f, server: api{f}, newest: map[string]uint64{}}).look(t.Context(), true); got != "" || err == nil {
		t.Errorf("without the API server: %q, %v", got, err)
	}
}

// Before everything was read nothing of the cluster is said not to exist.
func TestBeforeEverythingWasRead(t *testing.T) {
	f := &fake{}
	h := &Handler{zones: []string{"cluster.local.", "in-addr.arpa."}, cache: f, Next: test.NextHandler(dns.RcodeNameError, nil)}
	ask := func(question string) int {
		code, err := h.ServeDNS(t.Context(), dnstest.NewRecorder(&test.ResponseWriter{}), new(dns.Msg).SetQuestion(question, dns.TypeA))
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	for question, want := range map[string]int{"a.svc.cluster.local.": dns.RcodeServerFailure, "A.Svc.Cluster.LOCAL.": dns.RcodeServerFailure, "1.0.0.10.in-addr.arpa.": dns.RcodeServerFailure, "outside.test.": dns.RcodeNameError} {
		if got := ask(question); got != want {
			t.Errorf("%s: %s, want %s", question, dns.RcodeToString[got], dns.RcodeToString[want])
		}
	}
	f.synced = true
	if got := ask("a.svc.cluster.local."); got != dns.RcodeNameError {
		t.Errorf("then: %s", dns.RcodeToString[got])
	}
}

func TestTheUsualPaceIsWithinAMinute(t *testing.T) {
	p := Usual()
	if worst := p.Look*3/2 + p.Settle + 5*time.Second; worst > time.Minute {
		t.Errorf("what is missed is found after %s", worst)
	}
}
