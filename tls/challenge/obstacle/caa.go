package obstacle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairwaynet/fairway/tls/challenge/dns"
)

// forbids says why CAA properties, those of one name, keep an authority from
// issuing the wish (RFC 8659, section 4, and RFC 8657); empty: they allow it.
func forbids(properties []dns.CAA, w Wish) string {
	var issue, wild []string
	for _, p := range properties {
		switch p.Tag {
		case "issue":
			issue = append(issue, p.Value)
		case "issuewild":
			wild = append(wild, p.Value)
		case "iodef", "issuemail", "issuevmc", "contactemail", "contactphone":
		default:
			if p.Critical {
				return fmt.Sprintf("hold the critical property %.40q, which no authority may issue with unless it knows it", p.Tag)
			}
		}
	}
	relevant, tag := issue, "issue"
	if strings.HasPrefix(w.Name, "*.") && len(wild) > 0 {
		relevant, tag = wild, "issuewild"
	}
	if len(relevant) == 0 {
		return "" // the properties restrict nothing
	}
	named := false
	for _, value := range relevant {
		domain, parameters := issuer(value)
		if !slices.ContainsFunc(w.Identities, func(id string) bool { return strings.EqualFold(id, domain) }) {
			continue
		}
		named = true
		if fits(parameters, w) {
			return ""
		}
	}
	if named {
		return fmt.Sprintf("let %s issue, but not to this account or not by one of the challenges %v (property %q)", w.Identities[0], w.Types, tag)
	}
	return fmt.Sprintf("do not let %s issue (property %q): add one with its name", strings.Join(w.Identities, " or "), tag)
}

// issuer is the parts of an issue property: "ca.test; validationmethods=dns-01".
func issuer(value string) (domain string, parameters map[string]string) {
	domain, rest, _ := strings.Cut(value, ";")
	parameters = map[string]string{}
	for _, part := range strings.Split(rest, ";") {
		tag, value, _ := strings.Cut(part, "=")
		if tag = strings.ToLower(strings.TrimSpace(tag)); tag != "" {
			parameters[tag] = strings.TrimSpace(value)
		}
	}
	return strings.TrimSpace(domain), parameters
}

// fits reports whether the parameters of a property leave room for the wish.
func fits(parameters map[string]string, w Wish) bool {
	if account, bound := parameters["accounturi"]; bound && w.Account != "" && account != w.Account {
		return false
	}
	methods, bound := parameters["validationmethods"]
	if !bound || len(w.Types) == 0 {
		return true
	}
	for _, method := range strings.Split(methods, ",") {
		for _, t := range w.Types {
			if strings.EqualFold(strings.TrimSpace(method), string(t)) {
				return true
			}
		}
	}
	return false
}
