package agent_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairwaynet/fairway/cni/agent"
)

func TestNodeIsOfThisBootOrNotThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if _, err := agent.Read(dir); !errors.Is(err, agent.ErrNotStarted) {
		t.Errorf("without a file: %v", err)
	}
	boot, err := agent.Boot()
	if err != nil {
		t.Fatal(err)
	}
	want := agent.Node{
		Version: agent.Version, Boot: boot, MTU: 1450, Isolated: []string{"shop"},
		Ranges: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:1::/64")},
	}
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := agent.Read(dir)
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	old := want
	old.Boot = "another"
	if err := old.Write(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.Read(dir); !errors.Is(err, agent.ErrNotStarted) {
		t.Errorf("of another boot: %v", err)
	}
	for content, says := range map[string]string{
		`{"version": 2}`:    "the agent is newer than the plugin",
		"":                  "EOF",
		`{"ranges": ["x"]}`: "x",
	} {
		if err := os.WriteFile(filepath.Join(dir, "node.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := agent.Read(dir); err == nil || errors.Is(err, agent.ErrNotStarted) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", content, err)
		}
	}
	if err := errors.Join(agent.Remove(dir), agent.Remove(dir)); err != nil {
		t.Error(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("there is still %v, %v", files, err)
	}
}

func TestWhoWaitsForTheAgent(t *testing.T) {
	node := agent.Node{Isolated: []string{"shop"}}
	for _, test := range []struct {
		namespace string
		hostPorts bool
		want      bool
	}{{"shop", false, true}, {"other", false, false}, {"other", true, true}, {"", false, false}} {
		if got := node.Waits(test.namespace, test.hostPorts); got != test.want {
			t.Errorf("%+v: %t", test, got)
		}
	}
}

// serve runs an agent until the test, or stop, ends it.
func serve(t *testing.T, dir string, do func(context.Context, agent.Request) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	listener, err := agent.Listen(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := agent.Serve(ctx, listener, do); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); serving.Wait() }
	t.Cleanup(stop)
	return stop
}

func TestAskTellsWhatTheAgentSays(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, func(_ context.Context, request agent.Request) error {
		switch request.UID {
		case "replaced":
			return &agent.RefusedError{Outcome: agent.Replaced, Why: "pod replaced"}
		case "fails":
			return errors.New("the kernel says no")
		}
		return nil
	})
	for uid, want := range map[string]*agent.RefusedError{
		"fine": nil, "replaced": {Outcome: agent.Replaced, Why: "pod replaced"}, "fails": {Outcome: agent.Failed, Why: "the kernel says no"},
	} {
		err := agent.Ask(t.Context(), dir, agent.Request{UID: uid})
		var refused *agent.RefusedError
		if errors.As(err, &refused); cmp.Diff(want, refused) != "" || (want == nil) != (err == nil) {
			t.Errorf("%s: %v", uid, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "node.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
}

// An ADD outlives a restart of the agent in the middle of its request.
func TestAskWaitsForAnAgentThatComesBack(t *testing.T) {
	dir := t.TempDir()
	asked := make(chan struct{})
	stop := serve(t, dir, func(ctx context.Context, _ agent.Request) error {
		close(asked)
		<-ctx.Done()
		return ctx.Err()
	})
	answered := make(chan error)
	go func() { answered <- agent.Ask(t.Context(), dir, agent.Request{}) }()
	<-asked
	stop() // in the middle of it
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := agent.Ask(ctx, dir, agent.Request{}); !errors.Is(err, agent.ErrAway) {
		t.Errorf("without an agent: %v", err)
	}
	serve(t, dir, func(context.Context, agent.Request) error { return nil })
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// What the agent does for an ADD ends with the ADD, and an agent that does not come to an
// end keeps no ADD longer than its deadline.
func TestAskEndsAtItsDeadline(t *testing.T) {
	dir := t.TempDir()
	ended := make(chan struct{})
	serve(t, dir, func(ctx context.Context, _ agent.Request) error {
		<-ctx.Done()
		close(ended)
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := agent.Ask(ctx, dir, agent.Request{})
	if refused := (*agent.RefusedError)(nil); !errors.As(err, &refused) || refused.Outcome != agent.Failed {
		t.Errorf("ended with %v", err)
	}
	<-ended
}

// Connections that say nothing, or nonsense, keep nobody away.
func TestNonsenseKeepsNobodyAway(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, func(context.Context, agent.Request) error { return nil })
	for _, text := range []string{"", "nonsense\n", strings.Repeat("x", 1<<17)} {
		connection, err := (&net.Dialer{}).DialContext(t.Context(), "unix", filepath.Join(dir, "node.sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		_, _ = connection.Write([]byte(text)) // the agent may hang up
	}
	if err := agent.Ask(t.Context(), dir, agent.Request{}); err != nil {
		t.Error(err)
	}
}
