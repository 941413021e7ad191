package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// maxAnswer bounds what is read of an answer of the admin interface.
const maxAnswer = 1 << 20

// Admin is Envoy's admin interface behind a Unix socket.
type Admin struct {
	Socket string
}

// Ready is nil when Envoy serves: it has its first configuration and its
// listeners accept connections.
func (a Admin) Ready(ctx context.Context) error {
	state, err := a.ask(ctx, http.MethodGet, "/ready", nil)
	if err != nil {
		return err
	}
	if state = strings.TrimSpace(state); state != "LIVE" {
		return fmt.Errorf("envoy is %s", state)
	}
	stats, err := a.stats(ctx, `^listener_manager\.(total_listeners_active|total_listeners_warming|workers_started)$`)
	switch {
	case err != nil:
		return err
	case stats.sum("envoy_listener_manager_workers_started") == 0:
		return errors.New("envoy has not started its workers")
	case stats.sum("envoy_listener_manager_total_listeners_warming") > 0:
		return errors.New("a listener is not yet ready")
	case stats.sum("envoy_listener_manager_total_listeners_active") == 0:
		return errors.New("there is no listener")
	}
	return nil
}

// Connections is how many connections of clients are open.
func (a Admin) Connections(ctx context.Context) (uint64, error) {
	// Not those of a single worker, which are in the sum already, nor our own.
	stats, err := a.stats(ctx, `^listener\..*\.downstream_cx_active$`)
	return uint64(stats.sum("envoy_listener_downstream_cx_active")), err
}

// Drain asks clients to leave: readiness fails, responses say "Connection:
// close" or GOAWAY. Listeners stay open, because load balancers need a while to notice.
func (a Admin) Drain(ctx context.Context) error {
	if _, err := a.ask(ctx, http.MethodPost, "/healthcheck/fail", nil); err != nil {
		return err
	}
	_, err := a.ask(ctx, http.MethodPost, "/drain_listeners", url.Values{"graceful": {""}, "skip_exit": {""}})
	return err
}

// StopListening closes the listeners. Connections that are open stay.
func (a Admin) StopListening(ctx context.Context) error {
	_, err := a.ask(ctx, http.MethodPost, "/drain_listeners", nil)
	return err
}

// statistics are those of Envoy, by their names in Prometheus' notation.
type statistics map[string]*dto.MetricFamily

// sum is the sum of all samples of a counter or gauge.
func (s statistics) sum(name string) float64 {
	sum := 0.0
	for _, sample := range s[name].GetMetric() {
		sum += valueOf(sample)
	}
	return sum
}

// stats are the statistics whose names in Envoy match a regular expression. They
// are asked for in Prometheus' notation, because Envoy goes through what it has
// of each cluster before it filters for the others: with 10,000 clusters that
// keeps its main thread for 40 ms instead of 1.4.
func (a Admin) stats(ctx context.Context, filter string) (statistics, error) {
	return a.statsBy(ctx, url.Values{"filter": {filter}})
}

// statsInUse are those of stats that have ever changed.
func (a Admin) statsInUse(ctx context.Context, filter string) (statistics, error) {
	return a.statsBy(ctx, url.Values{"filter": {filter}, "usedonly": {""}})
}

func (a Admin) statsBy(ctx context.Context, query url.Values) (statistics, error) {
	text, err := a.ask(ctx, http.MethodGet, "/stats/prometheus", query)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read envoy's statistics: %w", err)
	}
	return families, nil
}

// ask sends one request on a connection of its own. The answer 503 is no error: Envoy's
// /ready explains itself by it.
func (a Admin) ask(ctx context.Context, method, path string, query url.Values) (string, error) {
	target := url.URL{Scheme: "http", Host: "envoy", Path: path, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", a.Socket)
		},
	}}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask envoy for %s: %w", path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("read envoy's %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusServiceUnavailable {
		return "", fmt.Errorf("ask envoy for %s: %s", path, response.Status)
	}
	return string(body), nil
}
