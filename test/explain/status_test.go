package explain_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/fairway"
)

// state is what the test reads of a status.
type state struct {
	Controllers []struct {
		Identity      string
		Leader, Alive bool
		Envoys        int
	}
	Gateways []struct {
		Name          string
		Envoys, Hosts int
	}
	Ingresses []struct {
		Name, State, Why string
		Problems         int
	}
	Others   int
	Unknown  []string
	Problems []struct{ Name, Reason string }
}

func status(t *testing.T, r *fairway.Installation, user *rest.Config) (state, fairway.Said) {
	t.Helper()
	got := r.Fairway(t, user, "status", "-o", "json")
	var s state
	if err := json.Unmarshal([]byte(got.Out), &s); err != nil {
		t.Fatalf("%v: %s%s", err, got.Out, got.Err)
	}
	return s, got
}

// statesOf is the states of the Ingresses, by name.
func (s state) of(name string) string {
	for _, i := range s.Ingresses {
		if i.Name == name {
			return i.State
		}
	}
	return "not ours"
}

// leads says whether there are so many controllers alive, and one leads.
func (s state) leads(controllers int) error {
	alive, leaders := 0, 0
	for _, c := range s.Controllers {
		if c.Alive {
			alive++
		}
		if c.Leader {
			leaders++
		}
	}
	if alive != controllers || leaders != 1 {
		return fmt.Errorf("%d controllers, %d lead: %+v", alive, leaders, s.Controllers)
	}
	return nil
}

func TestStatusIsWhatIsTheCase(t *testing.T) {
	r := start(t, fairway.Options{Envoys: 2})
	r.StartReplica(t)
	user := viewer(t, r)
	var s state
	var got fairway.Said
	fairway.Eventually(t, patience, func(context.Context) error {
		s, got = status(t, r, user)
		return s.leads(2)
	})
	fairway.Eventually(t, patience, func(context.Context) error {
		s, got = status(t, r, user)
		for _, name := range []string{"web", "wild", "many"} {
			if s.of(name) != "Served" {
				return fmt.Errorf("%s: %s", name, got.Out)
			}
		}
		return nil
	})
	if s.Others != 1 || s.of("foreign") != "not ours" {
		t.Errorf("the Ingress of another class: %+v", s)
	}
	if len(s.Problems) != 1 || s.Problems[0].Reason != "BackendNotFound" || got.Code != 1 {
		t.Errorf("exit code %d, problems %+v", got.Code, s.Problems)
	}
	if g := s.Gateways[0]; len(s.Gateways) != 1 || g.Envoys != 2 || g.Hosts != 3 {
		t.Errorf("gateways %+v", s.Gateways)
	}

	t.Run("a mended Ingress", func(t *testing.T) {
		ing := &networkingv1.Ingress{}
		if err := r.Client.Get(t.Context(), client.ObjectKey{Namespace: fairway.Namespace, Name: "web"}, ing); err != nil {
			t.Fatal(err)
		}
		ing.Spec.Rules[0].HTTP.Paths = ing.Spec.Rules[0].HTTP.Paths[:1]
		if err := r.Client.Update(t.Context(), ing); err != nil {
			t.Fatal(err)
		}
		fairway.Eventually(t, patience, func(context.Context) error {
			if s, got = status(t, r, user); got.Code != 0 {
				return fmt.Errorf("exit code %d: %s", got.Code, got.Out)
			}
			return nil
		})
		text := r.Fairway(t, user, "status").Out
		for _, want := range []string{"fairway-system/replica-0", "leader", "standby", "default/web", "3 Ingresses, 3 served; no problems"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in:\n%s", want, text)
			}
		}
	})
	t.Run("without Envoys", func(t *testing.T) {
		for _, e := range r.Envoys {
			e.Stop()
		}
		fairway.Eventually(t, patience, func(context.Context) error {
			if s, got = status(t, r, user); s.of("web") != "Down" || got.Code != 1 {
				return fmt.Errorf("exit code %d: %s", got.Code, got.Out)
			}
			return nil
		})
	})
}

func TestStatusWithoutLeasesSaysSo(t *testing.T) {
	r := start(t, fairway.Options{})
	user := viewer(t, r, "leases")
	s, got := status(t, r, user)
	if s.of("web") != "Unknown" || got.Code != 1 || len(s.Unknown) != 2 || // controllers, and holders of addresses
		!strings.Contains(s.Unknown[0], "you need the permission to list leases.coordination.k8s.io in all namespaces") {
		t.Errorf("exit code %d: %s", got.Code, got.Out)
	}
}
