package rack

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/fairwaynet/fairway/test/lab/machine"
)

// State is the state of a machine.
type State struct {
	Name  string
	Kind  machine.Kind
	On    bool
	Cut   bool
	PID   int // of its first process, in the rack's PID namespace
	Since time.Time
}

// handler is the rack's side of Client.
func (r *rack) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /machines", func(w http.ResponseWriter, _ *http.Request) {
		states := make([]State, 0, len(r.plan.Machines))
		for _, name := range r.plan.Machines {
			states = append(states, r.machines[name].state())
		}
		_ = json.NewEncoder(w).Encode(states) // the client may be gone
	})
	for action, do := range map[string]func(context.Context, *slot) error{
		"boot":   func(ctx context.Context, s *slot) error { return s.boot(ctx) },
		"kill":   func(_ context.Context, s *slot) error { return s.kill() },
		"cut":    func(_ context.Context, s *slot) error { return s.carry(false) },
		"mend":   func(_ context.Context, s *slot) error { return s.carry(true) },
		"reboot": reboot,
	} {
		mux.HandleFunc("POST /machines/{name}/"+action, func(w http.ResponseWriter, request *http.Request) {
			s := r.machines[request.PathValue("name")]
			if s == nil {
				http.Error(w, "there is no machine "+request.PathValue("name"), http.StatusNotFound)
				return
			}
			if err := do(request.Context(), s); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	return mux
}

func reboot(ctx context.Context, s *slot) error {
	if err := s.kill(); err != nil {
		return err
	}
	return s.boot(ctx)
}

func (s *slot) state() State {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	state := State{Name: s.spec.Name, Kind: s.spec.Kind, On: s.on()}
	if state.On {
		state.Cut, state.PID, state.Since = s.cut, s.process.Pid, s.since
	}
	return state
}

// Client sends requests to a rack.
type Client struct{ http *http.Client }

// NewClient is a client of the rack whose folder is dir.
func NewClient(dir string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, socketFile))
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Machines are all machines of the rack, in the order of their start.
func (c *Client) Machines(ctx context.Context) ([]State, error) {
	var states []State
	answer, err := c.do(ctx, http.MethodGet, "/machines")
	if err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	if err := json.Unmarshal(answer, &states); err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	return states, nil
}

// Boot switches a machine on.
func (c *Client) Boot(ctx context.Context, name string) error { return c.switchIt(ctx, "boot", name) }

// Kill switches a machine off hard.
func (c *Client) Kill(ctx context.Context, name string) error { return c.switchIt(ctx, "kill", name) }

// Reboot switches a machine off hard, and on again.
func (c *Client) Reboot(ctx context.Context, name string) error {
	return c.switchIt(ctx, "reboot", name)
}

// Cut takes a machine's links down.
func (c *Client) Cut(ctx context.Context, name string) error { return c.switchIt(ctx, "cut", name) }

// Mend brings a machine's links up again.
func (c *Client) Mend(ctx context.Context, name string) error { return c.switchIt(ctx, "mend", name) }

func (c *Client) switchIt(ctx context.Context, action, name string) error {
	if _, err := c.do(ctx, http.MethodPost, "/machines/"+name+"/"+action); err != nil {
		return fmt.Errorf("%s %s: %w", action, name, err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://rack"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", strings.TrimSpace(string(answer)))
	}
	return answer, nil
}
