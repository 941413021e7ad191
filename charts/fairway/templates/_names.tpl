{{/*
fairway.installation names the installation: the prefix of its Lease and its Secrets. It
follows from the release's name alone, because that cannot change.
*/}}
{{- define "fairway.installation" -}}
{{- $name := .Release.Name | replace "." "-" -}}
{{- if not (contains "fairway" $name) -}}{{- $name = printf "%s-fairway" $name -}}{{- end -}}
{{- if gt (len $name) 40 -}}{{- $name = printf "%s-%s" (trunc 31 $name) (.Release.Name | sha256sum | trunc 8) -}}{{- end -}}
{{- $name -}}
{{- end -}}

{{/*
fairway.fullname is the front of the names of objects in the namespace.
*/}}
{{- define "fairway.fullname" -}}
{{- $name := include "fairway.installation" . -}}
{{- if .Values.fullnameOverride -}}{{- $name = .Values.fullnameOverride -}}
{{- else if .Values.nameOverride -}}{{- $name = printf "%s-%s" .Release.Name .Values.nameOverride -}}{{- end -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/*
fairway.plain prints "true" for the release fairway in fairway-system, which has the plain
names that the documentation uses.
*/}}
{{- define "fairway.plain" -}}
{{- if and (eq (include "fairway.installation" .) "fairway") (eq .Release.Namespace "fairway-system") -}}true{{- end -}}
{{- end -}}

{{/*
fairway.clusterName is the front of the names of cluster-wide objects. Other releases do
not have it, in whatever namespace.
*/}}
{{- define "fairway.clusterName" -}}
{{- $installation := include "fairway.installation" . -}}
{{- if include "fairway.plain" . -}}{{- $installation -}}
{{- else -}}{{- printf "%s-%s" .Release.Namespace $installation -}}{{- end -}}
{{- end -}}

{{- define "fairway.controllerValue" -}}
{{- $own := dig "controllerValue" "" (.Values.controller | default dict) -}}
{{- if $own -}}{{- $own -}}
{{- else if include "fairway.plain" . -}}fairway.dev/ingress-controller
{{- else -}}{{- printf "fairway.dev/%s/%s" .Release.Namespace (include "fairway.installation" .) -}}{{- end -}}
{{- end -}}

{{/*
fairway.gatewayName is the name of a gateway for the controllers, which is also that of its
ClusterGatewayConfig. Arguments: root, key.
*/}}
{{- define "fairway.gatewayName" -}}
{{- if include "fairway.plain" .root -}}{{- .key -}}
{{- else -}}{{- printf "%s-%s" (include "fairway.clusterName" .root) .key -}}{{- end -}}
{{- end -}}

{{/*
fairway.workload is the name of a gateway's workload and Service. Arguments: root, key.
*/}}
{{- define "fairway.workload" -}}
{{- $name := printf "%s-gateway" (include "fairway.fullname" .root) -}}
{{- if ne .key "default" -}}{{- $name = printf "%s-%s" $name .key -}}{{- end -}}
{{- $name -}}
{{- end -}}

{{/*
fairway.node is the name of the agents' DaemonSet.
*/}}
{{- define "fairway.node" -}}
{{- printf "%s-node" (include "fairway.fullname" .) -}}
{{- end -}}

{{/*
fairway.dns is the name of the DNS servers' Deployment.
*/}}
{{- define "fairway.dns" -}}
{{- printf "%s-dns" (include "fairway.fullname" .) -}}
{{- end -}}

{{/*
fairway.gatewaySecret is the name of the Secret that the leader writes for a gateway.
Arguments: root, gateway.
*/}}
{{- define "fairway.gatewaySecret" -}}
{{- printf "%s-gateway-%s" (include "fairway.installation" .root) .gateway.gateway -}}
{{- end -}}

{{/*
fairway.selector prints the labels by which pods are found. They never change, and no value
reaches them: selectors are immutable. Arguments: root, component, key (of a gateway).
*/}}
{{- define "fairway.selector" -}}
app.kubernetes.io/name: fairway
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- with .key }}
fairway.dev/gateway: {{ . | quote }}
{{- end }}
{{- end -}}

{{/*
fairway.podLabels prints the labels of pods: the user's, which cannot replace those of the
selector. Arguments: labels, selector.
*/}}
{{- define "fairway.podLabels" -}}
{{- $labels := dict -}}
{{- range $key, $value := .labels -}}{{- $_ := set $labels $key (include "fairway.text" $value) -}}{{- end -}}
{{- range $key, $value := fromYaml .selector -}}{{- $_ := set $labels $key $value -}}{{- end -}}
{{- toYaml $labels -}}
{{- end -}}

{{/*
fairway.labels prints the labels of an object. Arguments: root, component, key, more.
*/}}
{{- define "fairway.labels" -}}
{{- $root := .root -}}
{{- $labels := dict -}}
{{- range $more := list ($root.Values.commonLabels | default dict) (.more | default dict) -}}
{{- range $key, $value := $more -}}{{- $_ := set $labels $key (include "fairway.text" $value) -}}{{- end -}}
{{- end -}}
{{- $fixed := dict "app.kubernetes.io/name" "fairway" "app.kubernetes.io/instance" $root.Release.Name "app.kubernetes.io/managed-by" $root.Release.Service "helm.sh/chart" (printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_")) -}}
{{- with .component -}}{{- $_ := set $fixed "app.kubernetes.io/component" . -}}{{- end -}}
{{- with .key -}}{{- $_ := set $fixed "fairway.dev/gateway" . -}}{{- end -}}
{{- range $key, $value := $fixed -}}{{- $_ := set $labels $key $value -}}{{- end -}}
{{- toYaml $labels -}}
{{- end -}}

{{/*
fairway.serviceAccount is the name of an account. Arguments: group (values), name (default).
*/}}
{{- define "fairway.serviceAccount" -}}
{{- if .group.serviceAccount.name -}}{{- .group.serviceAccount.name -}}
{{- else if .group.serviceAccount.create -}}{{- .name -}}
{{- else -}}default{{- end -}}
{{- end -}}
