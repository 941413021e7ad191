package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Issuer is an ACME server (RFC 8555) and an account there, which order
// certificates. An Ingress names it in the annotation fairway.dev/issuer; a
// GatewayConfig names it in spec.issuer for all Ingresses of its classes. The
// Secrets that it names are in the namespace of the controllers.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=fairway
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Issued",type=integer,JSONPath=`.status.certificates.issued`
// +kubebuilder:printcolumn:name="Pending",type=integer,JSONPath=`.status.certificates.pending`
// +kubebuilder:printcolumn:name="Failing",type=integer,JSONPath=`.status.certificates.failing`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:metadata:labels="app.kubernetes.io/name=fairway"
type Issuer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   IssuerSpec   `json:"spec"`
	Status IssuerStatus `json:"status,omitempty"`
}

// IssuerList is a list of Issuers.
//
// +kubebuilder:object:root=true
type IssuerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Issuer `json:"items"`
}

// IssuerSpec is the server, the account, and how to order.
//
// +kubebuilder:validation:XValidation:rule="!has(self.challenges) || !self.challenges.exists(c, c == 'DNS-01') || has(self.dns)",message="the challenge DNS-01 needs dns"
type IssuerSpec struct {
	// controller is the installation of Fairway that uses the Issuer: its
	// --controller-value, which is also spec.controller of its IngressClasses. No
	// other installation registers an account or orders certificates. Default:
	// fairway.dev/ingress-controller.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=250
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9/._~%!$&'()*+,;=:-]+$`
	Controller string `json:"controller,omitempty"`

	// directory is the URL of the server's directory, such as
	// "https://acme-v02.api.letsencrypt.org/directory".
	//
	// +required
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() == 'https'",message="must be a URL that begins with https://"
	Directory string `json:"directory"`

	// termsAgreed says that you agree to the server's terms of service. Without
	// it Fairway registers no account. The message of the condition Ready says
	// where to read the terms.
	//
	// +optional
	TermsAgreed bool `json:"termsAgreed,omitempty"`

	// email is an address for the server's messages. Many servers ignore it by
	// now.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=254
	// +kubebuilder:validation:Pattern=`^[^@\s,]+@[^@\s,]+$`
	Email string `json:"email,omitempty"`

	// externalAccount binds the account to one that you already have with the
	// server (EAB), if the server requires that.
	//
	// +optional
	ExternalAccount *ExternalAccount `json:"externalAccount,omitempty"`

	// profile is the server's name for a kind of certificate, such as
	// "shortlived". Default: the server's choice.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Profile string `json:"profile,omitempty"`

	// caBundle holds the certificates, in PEM, of the authorities that verify the
	// server's own certificate. Default: those of the system.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=65536
	CABundle string `json:"caBundle,omitempty"`

	// keyType is the kind of the certificates' keys; each certificate gets a new
	// key. Default ECDSA-P256.
	//
	// +optional
	KeyType KeyType `json:"keyType,omitempty"`

	// challenges are the allowed challenges, best first. Default: HTTP-01 and
	// TLS-ALPN-01, and DNS-01 if dns is set. A wildcard needs DNS-01.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	Challenges []ChallengeType `json:"challenges,omitempty"`

	// dns says how to write records for DNS-01.
	//
	// +optional
	DNS *IssuerDNS `json:"dns,omitempty"`
}

// ExternalAccount is an existing account with the server, identified by its key.
type ExternalAccount struct {
	// keyID is the server's name for the key.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	KeyID string `json:"keyID"`

	// secretName is the Secret, in the namespace of the controllers, that holds
	// the key under "key", as the server gave it (base64url).
	//
	// +required
	SecretName SecretName `json:"secretName"`
}

// SecretName is the name of a Secret in the namespace of the controllers.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
type SecretName string

// KeyType is a kind of private key.
//
// +kubebuilder:validation:Enum=ECDSA-P256;ECDSA-P384;RSA-2048;RSA-4096
type KeyType string

// The kinds of keys.
const (
	KeyECDSAP256 KeyType = "ECDSA-P256"
	KeyECDSAP384 KeyType = "ECDSA-P384"
	KeyRSA2048   KeyType = "RSA-2048"
	KeyRSA4096   KeyType = "RSA-4096"
)

// ChallengeType is a way to prove the control of a name.
//
// +kubebuilder:validation:Enum=HTTP-01;TLS-ALPN-01;DNS-01
type ChallengeType string

// The types of challenges.
const (
	ChallengeHTTP01    ChallengeType = "HTTP-01"
	ChallengeTLSALPN01 ChallengeType = "TLS-ALPN-01"
	ChallengeDNS01     ChallengeType = "DNS-01"
)

// IssuerDNS says how to write records: through one provider.
type IssuerDNS struct {
	// rfc2136 uses dynamic updates, which BIND, Knot and PowerDNS accept.
	//
	// +required
	RFC2136 *RFC2136 `json:"rfc2136,omitempty"`
}

// RFC2136 is a DNS server that accepts dynamic updates.
type RFC2136 struct {
	// server is the host and port of the zone's primary server, "192.0.2.53:53".
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=260
	Server string `json:"server"`

	// zone is the zone to update, "shop.test". Default: Fairway looks it up.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Zone string `json:"zone,omitempty"`

	// tsig signs the updates. Without it they are unsigned, and only the server's
	// own rules keep others from writing.
	//
	// +optional
	TSIG *TSIG `json:"tsig,omitempty"`
}

// TSIG is a key that signs updates (RFC 8945).
type TSIG struct {
	// keyName is the key's name at the server.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	KeyName string `json:"keyName"`

	// algorithm is the key's algorithm. Default hmac-sha256.
	//
	// +optional
	// +kubebuilder:validation:Enum=hmac-sha256;hmac-sha512
	Algorithm string `json:"algorithm,omitempty"`

	// secretName is the Secret, in the namespace of the controllers, that holds
	// the key under "key", in base64, as tsig-keygen prints it.
	//
	// +required
	SecretName SecretName `json:"secretName"`
}

// IssuerStatus is the state of an Issuer.
type IssuerStatus struct {
	// conditions: Ready says whether the Issuer can order certificates.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// account is the URL of the account at the server.
	//
	// +optional
	Account string `json:"account,omitempty"`

	// certificates counts the certificates that this Issuer is to issue.
	//
	// +optional
	Certificates *CertificateCounts `json:"certificates,omitempty"`

	// orders are the certificates that need attention, followed by those that are
	// renewed first: at most 100.
	//
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=secretName
	Orders []CertificateState `json:"orders,omitempty"`
}

// CertificateCounts counts certificates by their state.
type CertificateCounts struct {
	// issued certificates exist and are valid.
	Issued int32 `json:"issued"`
	// pending certificates are being ordered for the first time.
	Pending int32 `json:"pending"`
	// failing certificates are those whose last order failed, whether or not an
	// earlier one exists.
	Failing int32 `json:"failing"`
}

// CertificateState is the state of a certificate.
type CertificateState struct {
	// namespace and secretName name the Secret.
	Namespace  string `json:"namespace"`
	SecretName string `json:"secretName"`

	// names are the certificate's names, at most ten of them.
	//
	// +optional
	// +listType=atomic
	Names []string `json:"names,omitempty"`

	// state is Issued, Renewing, Pending or Failing.
	State string `json:"state"`

	// message explains the state for people.
	//
	// +optional
	Message string `json:"message,omitempty"`

	// next is the time of the next attempt or renewal.
	//
	// +optional
	Next *metav1.Time `json:"next,omitempty"`

	// notAfter is when the existing certificate expires.
	//
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
}

// The states of certificates.
const (
	CertificateIssued   = "Issued"   // it exists, and is not due for renewal
	CertificateRenewing = "Renewing" // it exists, and a new one is being ordered
	CertificatePending  = "Pending"  // the first one is being ordered
	CertificateFailing  = "Failing"  // the last order failed
)

// The condition of an Issuer, and its reasons.
const (
	ConditionReady = "Ready"

	ReasonRegistered     = "Registered"     // the account exists
	ReasonTermsNotAgreed = "TermsNotAgreed" // spec.termsAgreed is not true
	ReasonUnreachable    = "Unreachable"    // the server does not answer, or not as an ACME server
	ReasonRefused        = "Refused"        // the server refuses the account
	ReasonInvalidIssuer  = "Invalid"        // a field or a Secret that it names is wrong
	ReasonNoState        = "NoState"        // the account's key cannot be stored
)
