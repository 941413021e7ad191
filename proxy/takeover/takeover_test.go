package takeover

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/api/problem"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	rules := Found{Iptables: []string{"ip nat"}, Rest: true}
	running := Found{Answers: true, Nftables: []string{"ip kube-proxy"}, Rest: true}
	adopted := State{Adopt: true, Serving: true, Written: true}
	removed := func(at time.Time) State { s := adopted; s.Removed = at; return s }
	returned := func(at time.Time) State { s := removed(at); s.Returned = true; return s }
	for _, test := range []struct {
		name  string
		found Found
		state State
		want  string // "write", "remove" and the reasons
	}{
		{name: "nothing", want: "write"},
		{name: "nothing, adopt", state: State{Adopt: true}, want: "write"},
		{name: "it runs", found: running, want: "KubeProxyPresent"},
		{name: "it answers, and has no rules yet", found: Found{Answers: true}, want: "KubeProxyPresent"},
		{name: "its rules", found: rules, want: "KubeProxyPresent"},
		{name: "its interface of IPVS", found: Found{IPVS: true}, want: "KubeProxyPresent"},
		{name: "its rules of iptables-legacy", found: Found{Legacy: []string{"iptables-legacy"}}, want: "KubeProxyPresent"},
		{name: "chains that lead nothing by themselves", found: Found{Rest: true}, want: "write"},
		{name: "it comes to a node that is served", found: running, state: State{Serving: true, Written: true}, want: "write KubeProxyPresent"},
		{name: "rules are removed when ours are written", found: rules, state: State{Adopt: true}, want: "write"},
		{name: "rules are removed", found: rules, state: adopted, want: "write remove"},
		{name: "not while it runs", found: running, state: adopted, want: "write KubeProxyPresent"},
		{name: "they are back", found: rules, state: removed(ago(10 * time.Second)), want: "write KubeProxyPresent"},
		{name: "they are back for long", found: rules, state: removed(ago(time.Minute)), want: "write remove KubeProxyPresent"},
		{name: "they were back", state: returned(ago(10 * time.Second)), want: "write KubeProxyPresent"},
		{name: "they were back once", state: returned(ago(5 * time.Minute)), want: "write"},
		{name: "they are gone", state: removed(ago(time.Second)), want: "write"},
		{name: "a chain is no longer in use", found: Found{Rest: true}, state: removed(ago(time.Second)), want: "write remove"},
		{name: "a chain is in use", found: Found{Kept: []string{"KUBE-MARK-MASQ of table ip nat"}}, state: adopted, want: "write KubeProxyRemains"},
		{name: "IPVS stays", found: Found{IPVS: true}, state: adopted, want: "write KubeProxyRemains"},
		{
			name:  "everything at once",
			found: Found{Answers: true, Rest: true, IPVS: true, Iptables: []string{"ip nat"}, Legacy: []string{"ip6tables-legacy"}},
			state: adopted, want: "write KubeProxyPresent KubeProxyRemains",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.state.Now = now
			d := Decide(test.found, test.state)
			var said []string
			if d.Write {
				said = append(said, "write")
			}
			if d.Remove {
				said = append(said, "remove")
			}
			for _, each := range d.Problems {
				said = append(said, string(each.Reason))
			}
			if diff := cmp.Diff(test.want, strings.Join(said, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Messages name what was found and what to run, and an event has room for them.
func TestMessages(t *testing.T) {
	all := Found{
		Answers: true, Nftables: []string{"ip kube-proxy", "ip6 kube-proxy"}, IPVS: true, Legacy: []string{"iptables-legacy", "ip6tables-legacy"},
		Iptables: []string{"ip nat", "ip filter", "ip6 nat", "ip6 filter"}, Kept: []string{"KUBE-MARK-MASQ of table ip nat", "KUBE-POSTROUTING of table ip nat"},
	}
	seen := map[problem.Reason]string{}
	for _, s := range []State{{}, {Serving: true}, {Adopt: true, Serving: true}} {
		for _, each := range Decide(all, s).Problems {
			const most = 1024
			if len(each.Message) > most {
				t.Errorf("%d bytes: %s", len(each.Message), each.Message)
			}
			seen[each.Reason] += each.Message
			t.Log(each.Message)
		}
	}
	for reason, words := range map[problem.Reason][]string{
		ReasonPresent: {
			"it answers at 127.0.0.1:10256", "nftables tables ip kube-proxy, ip6 kube-proxy", "interface kube-ipvs0", "chains of iptables-legacy and ip6tables-legacy",
			"kubectl -n kube-system delete daemonset kube-proxy", "kube-proxy --cleanup", "--adopt",
		},
		ReasonRemains: {"interface kube-ipvs0", "rules of iptables-legacy", "chains KUBE-MARK-MASQ of table ip nat", "kube-proxy --cleanup"},
	} {
		for _, word := range words {
			if !strings.Contains(seen[reason], word) {
				t.Errorf("%s does not say %q", reason, word)
			}
		}
	}
}
