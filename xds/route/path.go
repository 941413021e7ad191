package route

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// maxPath bounds the path of a rule in bytes. RFC 9112 asks servers to support request
// lines of 8,000, and few clients send longer ones.
const maxPath = 8000

// matchOf reads the condition of a path of a rule. With ok false no request matches. A
// fault with a match is only told: the path is served.
func matchOf(path *networkingv1.HTTPIngressPath) (match Match, ok bool, found *fault) {
	kind, specific, found := kindOf(path.PathType)
	if found != nil {
		return Match{}, false, found
	}
	text := path.Path
	if specific && text == "" {
		text = "/"
	}
	if !strings.HasPrefix(text, "/") {
		return Match{}, false, &fault{"path", ReasonInvalidPath,
			fmt.Sprintf("path %q does not start with \"/\"; it is not served", text)}
	}
	if len(text) > maxPath {
		return Match{}, false, &fault{"path", ReasonInvalidPath,
			fmt.Sprintf("the path has %d bytes, more than %d; it is not served", len(text), maxPath)}
	}
	return matchOfText(kind, specific, text)
}

// matchOfText reads a path that is well formed for the Kubernetes API.
func matchOfText(kind PathKind, specific bool, text string) (match Match, ok bool, found *fault) {
	path, obstacle := normalForm(text)
	switch {
	case looksLikePattern(text, specific):
		found = &fault{"path", ReasonRegexPath, fmt.Sprintf(
			"path %q looks like a pattern; Fairway matches no regular expressions or globs, and compares it as plain text", text)}
	case obstacle != "":
		found = &fault{"path", ReasonUnreachablePath, fmt.Sprintf(
			"no request has the path %q: %s; it is not served", text, obstacle)}
	}
	if obstacle != "" {
		return Match{}, false, found
	}
	if kind == Prefix && path != "/" {
		path = strings.TrimSuffix(path, "/")
	}
	return Match{Kind: kind, Path: path}, true, found
}

// kindOf reads a pathType. ImplementationSpecific (specific) is Prefix.
func kindOf(pathType *networkingv1.PathType) (kind PathKind, specific bool, found *fault) {
	if pathType == nil {
		return 0, false, &fault{"pathType", ReasonInvalidPathType,
			"pathType is missing; the path is not served; write Exact, Prefix or ImplementationSpecific"}
	}
	switch *pathType {
	case networkingv1.PathTypeExact:
		return Exact, false, nil
	case networkingv1.PathTypePrefix:
		return Prefix, false, nil
	case networkingv1.PathTypeImplementationSpecific:
		return Prefix, true, nil
	default:
		return 0, false, &fault{"pathType", ReasonInvalidPathType, fmt.Sprintf(
			"pathType %q does not exist; the path is not served; write Exact, Prefix or ImplementationSpecific", *pathType)}
	}
}

// looksLikePattern recognises paths that were written for controllers which match
// regular expressions or globs. Most of their characters are legal in a path, so outside
// ImplementationSpecific only unmistakable ones count.
func looksLikePattern(path string, specific bool) bool {
	if strings.HasSuffix(path, "/*") || strings.Contains(path, ".*") || strings.Contains(path, "(/|$)") {
		return true
	}
	return specific && (strings.ContainsAny(path, `()[]{}|^\*?`) ||
		strings.HasSuffix(path, "$") || strings.Contains(path, ".+"))
}
