package route

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/api/v1alpha1"
)

// AnnotationHSTS is the Strict-Transport-Security header of an Ingress's answers over
// HTTPS ("max-age=31536000; includeSubDomains"), in place of the gateway's own, or
// "off".
const AnnotationHSTS = annotationPrefix + "hsts"

// HSTS is the header Strict-Transport-Security (RFC 6797).
type HSTS struct {
	// Inherited says that the gateway's own header applies, and the other fields do
	// not.
	Inherited bool
	// MaxAge is in seconds; 0 has browsers forget an earlier header.
	MaxAge                     uint32
	IncludeSubDomains, Preload bool
}

// Of is the header that h stands for in a gateway; nil: none.
func (h *HSTS) Of(gateway TLS) *HSTS {
	if h != nil && h.Inherited {
		return gateway.HSTS
	}
	return h
}

// String is the header's value.
func (h *HSTS) String() string {
	text := "max-age=" + strconv.FormatUint(uint64(h.MaxAge), 10)
	if h.IncludeSubDomains {
		text += "; includeSubDomains"
	}
	if h.Preload {
		text += "; preload"
	}
	return text
}

const (
	// maxHSTS is ten years: more than any browser keeps.
	maxHSTS = 10 * 365 * 24 * 60 * 60
	// leastPreload is the least that lists of preloaded sites accept.
	leastPreload = 365 * 24 * 60 * 60
)

// wrong tells people what is wrong with h.
func (h *HSTS) wrong() error {
	switch {
	case h.MaxAge > maxHSTS:
		return fmt.Errorf("max-age %d is above %d", h.MaxAge, maxHSTS)
	case h.Preload && (!h.IncludeSubDomains || h.MaxAge < leastPreload):
		return fmt.Errorf("lists of preloaded sites want includeSubDomains and a max-age of at least %d", leastPreload)
	default:
		return nil
	}
}

// hsts reads the header of a gateway's hosts.
func (b *settingsBuilder) hsts(spec *v1alpha1.HSTS, into **HSTS) {
	if spec == nil {
		return
	}
	if spec.MaxAge < 0 || spec.MaxAge > maxHSTS {
		b.wrong("tls.hsts.maxAge", "%d is not between 0 and %d", spec.MaxAge, maxHSTS)
		return
	}
	read := &HSTS{MaxAge: uint32(spec.MaxAge), IncludeSubDomains: spec.IncludeSubDomains, Preload: spec.Preload}
	if err := read.wrong(); err != nil {
		b.wrong("tls.hsts.preload", "%s", err)
		return
	}
	*into = read
}

// hstsOf reads the annotation, which is written like the header; nil: no header.
func hstsOf(text string) (*HSTS, error) {
	if text == "off" {
		return nil, nil //nolint:nilnil // both are an answer
	}
	read := &HSTS{}
	given := map[string]bool{}
	for directive := range strings.SplitSeq(text, ";") {
		name, value, valued := strings.Cut(strings.TrimSpace(directive), "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if given[name] {
			return nil, fmt.Errorf("%s is there twice", name)
		}
		given[name] = true
		switch {
		case name == "max-age" && valued:
			seconds, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("max-age %q is no number of seconds between 0 and %d", value, uint32(math.MaxUint32))
			}
			read.MaxAge = uint32(seconds)
		case name == "includesubdomains" && !valued:
			read.IncludeSubDomains = true
		case name == "preload" && !valued:
			read.Preload = true
		default:
			return nil, fmt.Errorf("%q is none of max-age=SECONDS, includeSubDomains, preload", strings.TrimSpace(directive))
		}
	}
	if !given["max-age"] {
		return nil, errors.New("there is no max-age")
	}
	return read, read.wrong()
}

// hsts is the header of the routes of ing under the host. If ing does not ask for the
// host over TLS, only the annotation counts: the certificate may be the default one,
// and with the header browsers would refuse it for good.
func (o options) hsts(ing *networkingv1.Ingress, host Hostname) *HSTS {
	switch {
	case o.hstsGiven:
		return o.ownHSTS
	case host.isSecure(ing):
		return &HSTS{Inherited: true}
	default:
		return nil
	}
}
