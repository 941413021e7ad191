package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	xacme "golang.org/x/crypto/acme"
)

// advice says what to do about a kind of problem (RFC 8555, 6.7).
type advice struct {
	kind Kind
	text string // what to do; empty: the problem's own text says it
}

func (a advice) suffix() string {
	if a.text == "" {
		return ""
	}
	return ": " + a.text
}

// adviceOn is the advice by the last part of a problem's type. The HTTP status
// decides about types that are not listed.
func adviceOn(kind string) (advice, bool) {
	a, ok := map[string]advice{
		"accountdoesnotexist": {Temporary, "the account is registered again"},
		"badcsr":              {Bug, ""},
		"badnonce":            {Temporary, ""},
		"badpublickey":        {Refused, "choose another key type"},
		"badsignaturealgorithm": {Refused, "choose another key type, " +
			"or let the account have a fresh key"},
		"caa": {Refused, "add a CAA record that allows the issuer, or remove those that forbid it"},
		"connection": {Refused, "check that the name's addresses in DNS lead to a gateway, " +
			"and that its ports 80 and 443 can be reached from the Internet"},
		"dns":                     {Refused, "check the name's records in DNS"},
		"externalaccountrequired": {Refused, "give the issuer an external account"},
		"incorrectresponse": {Refused, "check that the name's addresses in DNS lead to a gateway, " +
			"all of them, and that nothing in between answers in its place"},
		"invalidcontact":     {Refused, "correct the issuer's e-mail address"},
		"invalidprofile":     {Refused, "choose a profile that the issuer offers"},
		"malformed":          {Bug, ""},
		"ordernotready":      {Temporary, ""},
		"ratelimited":        {RateLimited, ""},
		"rejectedidentifier": {Refused, "the issuer does not issue for this name: remove it"},
		"serverinternal":     {Temporary, ""},
		"tls": {Refused, "check that the name's addresses in DNS lead to a gateway, " +
			"and that nothing in between ends TLS"},
		"unauthorized": {Refused, "check that the name's addresses in DNS lead to a gateway, " +
			"all of them, and that nothing in between answers in its place"},
		"unsupportedcontact":    {Refused, "correct the issuer's e-mail address"},
		"unsupportedidentifier": {Refused, "the issuer does not issue for this name: remove it"},
		"useractionrequired":    {Refused, "do what the issuer asks at this address, then try again"},
	}[strings.ToLower(kind)]
	return a, ok
}

// adviceOnAnswer is adviceOn for the answer to a request. There "unauthorized" is
// about the account, not about a name.
func adviceOnAnswer(kind string) (advice, bool) {
	if strings.EqualFold(kind, "unauthorized") {
		return advice{Refused, "the issuer refuses the account: check its external account, or let it have a fresh key"}, true
	}
	return adviceOn(kind)
}

// failureOf makes a Failure of a request's error: of the authority's answer, or of
// the lack of one.
func failureOf(doing string, err error, now time.Time) *Failure {
	var failure *Failure
	var problem *xacme.Error
	switch {
	case errors.As(err, &failure):
		return failure
	case errors.As(err, &problem):
		failure = answerFailure(problem, now)
	default:
		failure = &Failure{Kind: Temporary, Text: networkText(err), authorityAway: isNoAnswer(err)}
	}
	failure.Text = oneLine(doing+": "+failure.Text, maxText)
	return failure
}

// answerFailure makes a Failure of the authority's answer to a request.
func answerFailure(problem *xacme.Error, now time.Time) *Failure {
	told, known := adviceOnAnswer(kindOf(problem.ProblemType))
	if !known {
		told = advice{kind: kindOfStatus(problem.StatusCode)}
	}
	f := &Failure{Kind: told.kind, Text: problemText("", problem, adviceOnAnswer)}
	f.Until = retryAfter(problem.Header, now)
	f.authorityAway = isOutOfOrder(problem)
	f.accountUnknown = strings.EqualFold(kindOf(problem.ProblemType), "accountDoesNotExist")
	// An order or authorization that is not there will not come back.
	gone := problem.StatusCode == http.StatusNotFound || f.accountUnknown
	f.endsAttempt = told.kind == Refused || told.kind == Bug || gone
	return f
}

// validationFailure makes a Failure of the reason why the authority could not verify
// a name, or did not issue. The request is never at fault then, and the attempt ends.
func validationFailure(name string, problem *xacme.Error) *Failure {
	told, known := adviceOn(kindOf(problem.ProblemType))
	if !known || told.kind == Bug {
		told.kind = Refused
	}
	return &Failure{Kind: told.kind, Text: problemText(name, problem, adviceOn), endsAttempt: true}
}

// problemText tells people what happened to each name and what to do.
func problemText(name string, problem *xacme.Error, advise func(string) (advice, bool)) string {
	if len(problem.Subproblems) == 0 {
		told, _ := advise(kindOf(problem.ProblemType))
		return sentence(name, problem.ProblemType, problem.Detail, problem.Instance) + told.suffix()
	}
	parts := make([]string, 0, len(problem.Subproblems))
	for _, sub := range problem.Subproblems {
		about := name
		if sub.Identifier != nil {
			about = sub.Identifier.Value
		}
		told, _ := advise(kindOf(sub.Type))
		parts = append(parts, sentence(about, sub.Type, sub.Detail, sub.Instance)+told.suffix())
	}
	return strings.Join(parts, "; ")
}

func sentence(name, problemType, detail, instance string) string {
	var out strings.Builder
	if name != "" {
		out.WriteString(oneLine(name, maxDetail) + ": ")
	}
	kind := kindOf(problemType)
	detail = strings.TrimSuffix(oneLine(detail, maxDetail), ".")
	switch {
	case detail == "":
		out.WriteString(oneLine(kind, maxDetail))
	case kind == "":
		out.WriteString(detail)
	default:
		fmt.Fprintf(&out, "%s (%s)", detail, oneLine(kind, maxDetail))
	}
	if instance != "" {
		out.WriteString(", " + oneLine(instance, maxDetail))
	}
	return out.String()
}

// kindOf is the last part of a problem's type.
func kindOf(problemType string) string {
	return problemType[strings.LastIndex(problemType, ":")+1:]
}

func kindOfStatus(status int) Kind {
	switch {
	case status == http.StatusTooManyRequests:
		return RateLimited
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusNotFound:
		return Temporary
	}
	return Bug
}

// isNoAnswer reports whether an error is that of a request to the authority. Other
// parts of a step have errors, too.
func isNoAnswer(err error) bool {
	var request *url.Error // as every HTTP client's are
	var cut *cutOffError
	return errors.As(err, &request) || errors.As(err, &cut)
}

// isOutOfOrder reports whether an answer says nothing about the request: it comes
// from no ACME server, or from one that cannot work now.
func isOutOfOrder(problem *xacme.Error) bool {
	switch problem.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case http.StatusTooManyRequests:
		return !strings.EqualFold(kindOf(problem.ProblemType), "rateLimited")
	}
	return problem.StatusCode >= 500 && problem.ProblemType == ""
}

// networkText tells people why there was no answer.
func networkText(err error) string {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.As(err, &authority):
		return err.Error() + ": give the issuer the CA bundle of its server"
	case errors.As(err, &host):
		return err.Error() + ": check the issuer's directory URL"
	case errors.Is(err, context.DeadlineExceeded):
		return "the issuer did not answer in time: " + err.Error()
	}
	return err.Error()
}

// maxRetryAfter bounds the pause that an authority may ask for: its mistake must not
// stop renewals.
const maxRetryAfter = 24 * time.Hour

// retryAfter is when the authority allows the next request; zero if the answer does
// not say.
func retryAfter(h http.Header, now time.Time) time.Time {
	value := h.Get("Retry-After")
	if value == "" {
		return time.Time{}
	}
	at, err := http.ParseTime(value)
	if seconds, wrong := strconv.Atoi(value); wrong == nil {
		seconds = min(max(seconds, 0), int(maxRetryAfter/time.Second))
		at, err = now.Add(time.Duration(seconds)*time.Second), nil
	}
	switch {
	case err != nil || at.Before(now):
		return time.Time{}
	case at.After(now.Add(maxRetryAfter)):
		return now.Add(maxRetryAfter)
	}
	return at
}
