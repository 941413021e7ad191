package dns

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// short is an answer's records, sorted, or its code if it has none.
func short(answer *dns.Msg) string {
	if len(answer.Answer) == 0 || answer.Rcode != dns.RcodeSuccess {
		if answer.Rcode == dns.RcodeSuccess {
			return "NODATA"
		}
		return dns.RcodeToString[answer.Rcode]
	}
	var all []string
	for _, record := range answer.Answer {
		switch record := record.(type) {
		case *dns.A:
			all = append(all, record.A.String())
		case *dns.AAAA:
			all = append(all, record.AAAA.String())
		case *dns.SRV:
			all = append(all, fmt.Sprintf("%d %s", record.Port, record.Target))
		case *dns.PTR:
			all = append(all, record.Ptr)
		case *dns.CNAME:
			all = append(all, "-> "+record.Target)
		case *dns.TXT:
			all = append(all, strings.Join(record.Txt, ""))
		default:
			all = append(all, record.String())
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
