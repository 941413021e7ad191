package route_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/xds/route"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden holds every file of testdata to what it says: a sentence, the
// objects (in.yaml), the controller's flags (flags), and what follows from them: gateways.yaml where there are
// configurations of any, and challenges.yaml where any are answered, hosts.yaml, backends.yaml where there are EndpointSlices, problems.yaml where there are any, and the
// answers to the requests that requests.yaml lists.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no golden files")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			golden(t, file)
		})
	}
}

func golden(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	must(t, err)
	have := txtar.Parse(text)
	in, requests := section(have, "in.yaml"), section(have, "requests.yaml")
	w := decode(t, in)
	challenges := section(have, "challenges.yaml")
	w.challenges = challengesOf(t, challenges)
	flags := section(have, "flags")
	w.local = flags == "--allow-local-backends\n"
	made := w.build()

	want := &txtar.Archive{Comment: have.Comment}
	add := func(name, text string) {
		if text != "" {
			want.Files = append(want.Files, txtar.File{Name: name, Data: []byte(text)})
		}
	}
	add("in.yaml", in)
	add("flags", flags)
	add("challenges.yaml", challenges)
	add("gateways.yaml", printGateways(made))
	add("hosts.yaml", printHosts(made))
	if len(w.slices) > 0 {
		add("backends.yaml", printBackends(made))
	}
	add("problems.yaml", printProblems(t, made.Problems))
	add("requests.yaml", printAnswers(made, requests))

	out := txtar.Format(want)
	if *update {
		must(t, os.WriteFile(file, out, 0o644))
		return
	}
	if diff := cmp.Diff(string(text), string(out)); diff != "" {
		t.Errorf("%s(-file +built; rewrite with -update)\n%s", have.Comment, diff)
	}
}

// challengesOf reads challenges by the host of the default gateway.
func challengesOf(t *testing.T, text string) map[route.Key][]route.Challenge {
	t.Helper()
	var hosts map[string][]route.Challenge
	must(t, yaml.Unmarshal([]byte(text), &hosts))
	challenges := map[route.Key][]route.Challenge{}
	for host, its := range hosts {
		challenges[route.Key{Gateway: route.DefaultGateway, Host: route.Hostname(host)}] = its
	}
	return challenges
}

func section(archive *txtar.Archive, name string) string {
	for _, file := range archive.Files {
		if file.Name == name {
			return string(file.Data)
		}
	}
	return ""
}

// printGateways is what each gateway has that is not the default.
func printGateways(made picture) string {
	var out strings.Builder
	defaults := reflect.ValueOf(route.DefaultSettings())
	for _, gateway := range slices.Sorted(maps.Keys(made.Gateways)) {
		fmt.Fprintf(&out, "%s:\n", gateway)
		settings := reflect.ValueOf(made.Gateways[gateway])
		for i := range settings.NumField() {
			if value := settings.Field(i).Interface(); !reflect.DeepEqual(value, defaults.Field(i).Interface()) {
				fmt.Fprintf(&out, "  %s: %+v\n", settings.Type().Field(i).Name, reflect.Indirect(settings.Field(i)))
			}
		}
	}
	return out.String()
}

// printHosts is one line a route, in their order.
func printHosts(made picture) string {
	var out strings.Builder
	for _, key := range sortedKeys(made.Hosts) {
		host := made.Hosts[key]
		routes := host.Routes
		if len(routes) == 0 {
			fmt.Fprintf(&out, "%s: []\n", key)
			continue
		}
		fmt.Fprintf(&out, "%s:\n", key)
		if host.Client != nil {
			fmt.Fprintf(&out, "- client certificates: %s\n", host.Client)
		}
		if host.Passthrough != nil {
			fmt.Fprintf(&out, "- TLS -> %s\n", strings.TrimSpace(host.Passthrough.Port.String()+" "+host.Passthrough.DNS))
		}
		for _, r := range routes {
			fmt.Fprintf(&out, "- %s\n", printRoute(r))
		}
	}
	return out.String()
}

// printRoute is "Prefix /cart -> shop/cart:80 (shop/web)", and in between what
// is not the default.
func printRoute(r route.Route) string {
	words := []string{r.Match.Kind.String(), r.Match.Path, "->", answerOf(r)}
	if c := r.Cluster; c != nil {
		if c.Protocol != route.HTTP1 {
			words = append(words, c.Protocol.String())
		}
		if c.TLS {
			words = append(words, "tls")
		}
		if c.DNS != "" {
			words = append(words, "dns="+c.DNS)
		}
		if c.DNSPort != 0 {
			words = append(words, fmt.Sprintf("port=%d", c.DNSPort))
		}
		if c.PerClient {
			words = append(words, "per-client")
		}
		if c.Authority != (route.Authority{}) {
			words = append(words, "ca="+c.Authority.String()+" for "+c.ServerName())
		} else if c.SNI != "" {
			words = append(words, "sni="+c.SNI)
		}
		if c.EndpointsStay {
			words = append(words, "endpoints=stay")
		}
	}
	if r.Redirect {
		words = append(words, "https-only")
	}
	if r.HSTS != nil && !r.HSTS.Inherited {
		words = append(words, fmt.Sprintf("hsts=%q", r.HSTS))
	}
	if r.RepeatedSlashes != "" {
		words = append(words, "repeated-slashes="+string(r.RepeatedSlashes))
	}
	if r.MaxBody != 0 {
		words = append(words, fmt.Sprintf("max-body=%d", r.MaxBody))
	}
	return strings.Join(append(words, fmt.Sprintf("(%s)", r.Origin)), " ")
}

// printBackends is one line an endpoint.
func printBackends(made picture) string {
	var out strings.Builder
	for _, port := range sortedKeys(made.Backends) {
		backend := made.Backends[port]
		if len(backend.Endpoints) == 0 {
			fmt.Fprintf(&out, "%s: []\n", port)
			continue
		}
		fmt.Fprintf(&out, "%s:\n", port)
		for _, endpoint := range backend.Endpoints {
			fmt.Fprintf(&out, "- %q\n", strings.TrimSpace(endpoint.Address.String()+" "+endpoint.Zone))
		}
	}
	return out.String()
}

func printProblems(t *testing.T, problems []problem.Problem) string {
	t.Helper()
	if len(problems) == 0 {
		return ""
	}
	type entry struct{ Object, Field, Reason, Message string }
	var entries []entry
	for _, p := range problems {
		entries = append(entries, entry{p.Object.String(), p.Field, string(p.Reason), p.Message})
	}
	text, err := yaml.Marshal(entries)
	must(t, err)
	return string(text)
}

// printAnswers answers requests of the form "shop.test/cart", one a line.
func printAnswers(made picture, requests string) string {
	var out strings.Builder
	for line := range strings.Lines(requests) {
		request, _, _ := strings.Cut(strings.TrimSpace(line), ": ")
		host, path, _ := strings.Cut(strings.TrimSuffix(request, ":"), "/")
		fmt.Fprintf(&out, "%s/%s: %s\n", host, path, made.ask(host, "/"+path))
	}
	return out.String()
}
