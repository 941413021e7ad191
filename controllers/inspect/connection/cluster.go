package connection

import (
	"fmt"
	"strings"

	"github.com/fairwaynet/fairway/proxy/policy"
)

// matching are the rules that match, of the policies of the cluster that were asked.
func matching(all []policy.Asked, d policy.Direction) []ClusterRule {
	var rules []ClusterRule
	for _, asked := range all {
		if asked.Rule < 0 {
			continue
		}
		rule := asked.Rules[d][asked.Rule]
		rules = append(rules, ClusterRule{
			Policy: asked.Name, Tier: asked.Tier.String(), Field: fmt.Sprintf("spec.%s[%d]", strings.ToLower(d.String()), asked.Rule),
			Rule: rule.Name, Action: rule.Action.String(),
		})
	}
	return rules
}

// decisive is the rule that decides, which is the last one; nil: none does.
func decisive(all []ClusterRule) *ClusterRule {
	if len(all) == 0 || all[len(all)-1].Action == policy.Pass.String() {
		return nil
	}
	return &all[len(all)-1]
}

// String says what the rule does.
func (r ClusterRule) String() string {
	name := r.Field
	if r.Rule != "" {
		name = fmt.Sprintf("%q", r.Rule)
	}
	does := map[string]string{policy.Accept.String(): "accepts it", policy.Deny.String(): "denies it", policy.Pass.String(): "passes it on"}[r.Action]
	return fmt.Sprintf("ClusterNetworkPolicy %s (tier %s, rule %s) %s", r.Policy, r.Tier, name, does)
}
