package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/test/tools"
)

// rule is an alert of the chart.
type rule struct {
	Alert       string
	Expr        string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t *testing.T) []rule {
	t.Helper()
	content, err := os.ReadFile(folder + "/files/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	return file.Groups[0].Rules
}

// Each alert fires on the series of its case, with these labels, and is over when they are well.
// A value stands for one minute.
func TestAlertsFireAndClear(t *testing.T) {
	cases := map[string]struct {
		series string // the trouble lasts two hours, then two hours without
		values string
		labels map[string]string
		value  string
	}{
		"FairwayCertificateExpires":      {`fairway_certificate_expiry_timestamp_seconds{namespace="shop",secret="web",serial="7"}`, "600000x120 9000000x120", map[string]string{"namespace": "shop", "secret": "web", "serial": "7"}, ""},
		"FairwayCertificateNotIssued":    {`fairway_acme_certificates{issuer="letsencrypt",state="Failing"}`, "2x120 0x120", map[string]string{"issuer": "letsencrypt", "state": "Failing"}, "2"},
		"FairwayCertificateNotServed":    {`fairway_certificate_proofs{state="failing",pod="c"}`, "1x120 0x120", map[string]string{"state": "failing", "pod": "c"}, ""},
		"FairwayCutOff":                  {`fairway_contact_age_seconds{pod="c"}`, "90x120 1x120", map[string]string{"pod": "c"}, ""},
		"FairwayNoLeader":                {`fairway_leader{pod="c"}`, "0x120 1x120", nil, ""},
		"FairwayNoGateway":               {`fairway_xds_envoys{pod="c"}`, "0x120 2x120", nil, ""},
		"FairwayGatewayNotReady":         {`fairway_gateway_ready{pod="g"}`, "0x120 1x120", map[string]string{"pod": "g"}, ""},
		"FairwayGatewayConfigurationOld": {`fairway_gateway_configuration_age_seconds{pod="g"}`, "400x120 1x120", map[string]string{"pod": "g"}, ""},
		"FairwayGatewayFull":             {`fairway_gateway_connections_refused_total{pod="g",reason="overload",listener="http"}`, "0+5x120 600x120", map[string]string{"pod": "g", "reason": "overload", "listener": "http"}, ""},
		"FairwayGatewayRestarts":         {`fairway_gateway_restarts_total{pod="g"}`, "0+1x120 120x120", map[string]string{"pod": "g"}, ""},
		"FairwayRefused":                 {`fairway_xds_rejections_total{kind="host"}`, "0+1x120 120x120", map[string]string{"kind": "host"}, ""},
		"FairwaySlowGateway":             {`fairway_xds_timeouts_total{pod="c"}`, "0+1x120 120x120", map[string]string{"pod": "c"}, ""},
		"FairwayErrors":                  {`controller_runtime_reconcile_errors_total{controller="ingress",pod="c"}`, "0+10x120 1200x120", map[string]string{"controller": "ingress"}, ""},
		"FairwayDNSStale":                {`fairway_dns_stale_total{pod="d"}`, "0+1x120 120x120", map[string]string{"pod": "d"}, ""},
		"FairwayDNSNotVerified":          {`fairway_dns_verified_timestamp_seconds{pod="d"}`, "0x120 7200+60x120", map[string]string{"pod": "d"}, ""},
		"FairwayDNSUpstreamLoop":         {`fairway_dns_upstream_loop{pod="d"}`, "1x120 0x120", map[string]string{"pod": "d"}, ""},
		"FairwayDNSFilesRefused":         {`fairway_dns_files_refused{pod="d"}`, "2x120 0x120", map[string]string{"pod": "d"}, ""},
		"FairwayMistakes":                {`fairway_problems{kind="Ingress",reason="BackendNotFound",pod="c"}`, "3x120 0x120", map[string]string{"kind": "Ingress", "reason": "BackendNotFound"}, "3"},
	}
	rules, err := filepath.Abs(folder + "/files/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var tests []any
	for _, rule := range alerts(t) {
		c, ok := cases[rule.Alert]
		if !ok {
			t.Errorf("no case for %s", rule.Alert)
			continue
		}
		delete(cases, rule.Alert)
		labels := map[string]string{}
		for _, more := range []map[string]string{rule.Labels, c.labels} {
			for name, value := range more {
				labels[name] = value
			}
		}
		annotations := map[string]string{}
		for name, text := range rule.Annotations {
			annotations[name] = strings.ReplaceAll(regexp.MustCompile(`\{\{ \$labels\.(\w+) \}\}`).ReplaceAllStringFunc(text, func(found string) string {
				return labels[regexp.MustCompile(`\.(\w+)`).FindStringSubmatch(found)[1]]
			}), "{{ $value }}", c.value)
		}
		tests = append(tests, map[string]any{
			"name": rule.Alert, "interval": "1m",
			"input_series": []any{map[string]any{"series": c.series, "values": c.values}},
			"alert_rule_test": []any{
				map[string]any{"eval_time": "110m", "alertname": rule.Alert, "exp_alerts": []any{map[string]any{"exp_labels": labels, "exp_annotations": annotations}}},
				map[string]any{"eval_time": "230m", "alertname": rule.Alert},
			},
		})
	}
	for name := range cases {
		t.Errorf("there is no alert %s", name)
	}
	content, err := yaml.Marshal(map[string]any{"rule_files": []string{rules}, "evaluation_interval": "1m", "tests": tests})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "alerts_test.yaml")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), tools.Path(t, "promtool"), "test", "rules", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), tools.Path(t, "promtool"), "check", "rules", "--lint=all", "--lint-fatal", rules).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Alerts and the dashboard use metrics that are documented; the tests of docs/metrics.md hold
// those to what the processes serve.
func TestMetricsOfAlertsAndDashboardExist(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\b(fairway|controller_runtime|workqueue|rest_client)_[a-z_]+[a-z]`)
	used := map[string]string{}
	for _, rule := range alerts(t) {
		for _, name := range names.FindAllString(rule.Expr, -1) {
			used[name] = rule.Alert
		}
	}
	board, err := os.ReadFile(folder + "/files/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names.FindAllString(string(board), -1) {
		used[name] = "the dashboard"
	}
	if len(used) < 25 {
		t.Errorf("only %d metrics are used", len(used))
	}
	for name, by := range used {
		plain := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		if !strings.Contains(string(page), "`"+plain+"`") && !strings.Contains(string(page), "`"+name+"`") && plain != "controller_runtime_reconcile_errors_total" {
			t.Errorf("%s uses %s, which docs/metrics.md does not have", by, name)
		}
	}
}
