package route

import "github.com/fairwaynet/fairway/api/problem"

// The Reasons of this package. docs/problems.md explains each of them: its meaning, the
// fate of the traffic meanwhile, and the remedy.
const (
	// The Ingress as a whole.
	ReasonEmptyIngress      problem.Reason = "EmptyIngress"      // neither rules nor a default backend
	ReasonUnknownAnnotation problem.Reason = "UnknownAnnotation" // a fairway.dev/ annotation that does not exist
	ReasonInvalidAnnotation problem.Reason = "InvalidAnnotation" // a value that cannot be read

	// An IngressClass.
	ReasonInvalidParameters  problem.Reason = "InvalidParameters"  // spec.parameters cannot be understood
	ReasonParametersNotFound problem.Reason = "ParametersNotFound" // they name an object that does not exist

	// A GatewayConfig or ClusterGatewayConfig.
	ReasonInvalidSetting problem.Reason = "InvalidSetting" // a value that cannot be

	// One rule or path.
	ReasonInvalidHost            problem.Reason = "InvalidHost"            // not a DNS name or wildcard
	ReasonNoPaths                problem.Reason = "NoPaths"                // a rule that serves nothing
	ReasonInvalidPathType        problem.Reason = "InvalidPathType"        // missing or unknown
	ReasonInvalidPath            problem.Reason = "InvalidPath"            // does not start with "/", or is too long
	ReasonUnreachablePath        problem.Reason = "UnreachablePath"        // no request has that path
	ReasonRegexPath              problem.Reason = "RegexPath"              // looks like a regular expression
	ReasonDuplicatePath          problem.Reason = "DuplicatePath"          // twice in one Ingress
	ReasonPathConflict           problem.Reason = "PathConflict"           // an older Ingress has it
	ReasonDefaultBackendConflict problem.Reason = "DefaultBackendConflict" // an older Ingress has one

	// One backend. These five are also the Reason of the Route that answers 503.
	ReasonBackendInvalid     problem.Reason = "BackendInvalid"     // cannot be understood
	ReasonBackendNotFound    problem.Reason = "BackendNotFound"    // no such Service or port
	ReasonBackendUnsupported problem.Reason = "BackendUnsupported" // a resource backend
	ReasonBackendNotAllowed  problem.Reason = "BackendNotAllowed"  // it is the gateway's own machine; also of an endpoint
	ReasonBackendTLS         problem.Reason = "BackendTLS"         // it cannot be verified as its Service asks

	// One port of a Service.
	ReasonUnknownAppProtocol problem.Reason = "UnknownAppProtocol" // not a protocol for backends
	ReasonUnusedTargetPort   problem.Reason = "UnusedTargetPort"   // of an ExternalName, and no number

	// TLS.
	ReasonTLSNotServed       problem.Reason = "TLSNotServed"       // the gateway has no HTTPS port
	ReasonTLSHostConflict    problem.Reason = "TLSHostConflict"    // an older Ingress of another namespace has the name
	ReasonSecretNotFound     problem.Reason = "SecretNotFound"     // it does not exist in the Ingress's namespace
	ReasonSecretUnreadable   problem.Reason = "SecretUnreadable"   // the API server does not give it
	ReasonSecretInvalid      problem.Reason = "SecretInvalid"      // of another type, or without the keys of a certificate
	ReasonCertificateInvalid problem.Reason = "CertificateInvalid" // cannot be read, or its key does not belong to it
	ReasonCertificateExpired problem.Reason = "CertificateExpired" // or is not valid yet
	ReasonCertificateNames   problem.Reason = "CertificateNames"   // it is not for the host

	// Certificates that are ordered.
	ReasonTwoIssuers          problem.Reason = "TwoIssuers"          // Fairway and cert-manager are both asked
	ReasonNoCertificateSecret problem.Reason = "NoCertificateSecret" // there is no Secret to keep it in
	ReasonCertificatePending  problem.Reason = "CertificatePending"  // it is not there yet
	// Clients' certificates, and TLS that is passed through. The conflicts are also
	// the Reason of the Route that answers 503.
	ReasonClientCAInvalid      problem.Reason = "ClientCAInvalid"      // no client can be verified by it
	ReasonClientPolicyConflict problem.Reason = "ClientPolicyConflict" // another Ingress of the host demands something else
	ReasonPassthroughInvalid   problem.Reason = "PassthroughInvalid"   // paths, a certificate, or no host
	ReasonPassthroughConflict  problem.Reason = "PassthroughConflict"  // another Ingress of the host is served otherwise

	// Endpoints.
	ReasonInvalidEndpoint problem.Reason = "InvalidEndpoint" // an address or port that nothing can connect to
	ReasonNoEndpointPort  problem.Reason = "NoEndpointPort"  // endpoints, but none with the Service's port
)
