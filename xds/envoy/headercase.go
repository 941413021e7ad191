package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	preservev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// headerCase formats header names over HTTP/1.1, to clients and to backends. Nil
// means lower case, the only case in HTTP/2 and HTTP/3.
func headerCase(choice route.HeaderCase) *corev3.Http1ProtocolOptions_HeaderKeyFormat {
	switch choice {
	case route.HeaderCaseLower:
		return nil
	case route.HeaderCaseTitle:
		return &corev3.Http1ProtocolOptions_HeaderKeyFormat{
			HeaderFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat_ProperCaseWords_{
				ProperCaseWords: &corev3.Http1ProtocolOptions_HeaderKeyFormat_ProperCaseWords{},
			},
		}
	case route.HeaderCasePreserve:
		return &corev3.Http1ProtocolOptions_HeaderKeyFormat{
			HeaderFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter{
				StatefulFormatter: &corev3.TypedExtensionConfig{
					Name: "envoy.http.stateful_header_formatters.preserve_case",
					TypedConfig: typed(&preservev3.PreserveCaseFormatterConfig{
						// This formats the headers that the gateway adds.
						FormatterTypeOnEnvoyHeaders: preservev3.PreserveCaseFormatterConfig_PROPER_CASE,
					}),
				},
			},
		}
	}
	return nil
}
