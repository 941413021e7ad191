{{/*
fairway.image prints the reference of an image. Arguments: root, image.
*/}}
{{- define "fairway.image" -}}
{{- $global := .root.Values.global | default dict -}}
{{- $registry := dig "image" "registry" "" $global | default (dig "imageRegistry" "" $global) | default .image.registry -}}
{{- $name := .image.repository -}}
{{- with $registry -}}{{- $name = printf "%s/%s" (trimSuffix "/" .) $name -}}{{- end -}}
{{- if .image.digest -}}
{{- with .image.tag -}}{{- $name = printf "%s:%s" $name (include "fairway.text" .) -}}{{- end -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (include "fairway.text" .image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/*
fairway.pullSecrets prints the list of pull secrets, if there are any. Argument: root.
*/}}
{{- define "fairway.pullSecrets" -}}
{{- $names := list -}}
{{- range concat (.Values.imagePullSecrets | default list) (dig "imagePullSecrets" list (.Values.global | default dict) | default list) -}}
{{- if kindIs "map" . -}}{{- $names = append $names .name -}}{{- else -}}{{- $names = append $names . -}}{{- end -}}
{{- end -}}
{{- with $names | uniq }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
fairway.spread prints the constraints of a group's pods. Arguments: group, selector.
*/}}
{{- define "fairway.spread" -}}
{{- $constraints := .group.topologySpreadConstraints -}}
{{- if kindIs "invalid" $constraints -}}
{{- $constraints = list (dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway") -}}
{{- end -}}
{{- $all := list -}}
{{- range $constraints -}}
{{- $one := deepCopy . -}}
{{- if not (hasKey $one "labelSelector") -}}
{{- $_ := set $one "labelSelector" (dict "matchLabels" (fromYaml $.selector)) -}}
{{- if not (hasKey $one "matchLabelKeys") -}}
{{- $_ := set $one "matchLabelKeys" (list "pod-template-hash") -}}
{{- end -}}
{{- end -}}
{{- $all = append $all $one -}}
{{- end -}}
{{- with $all }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
fairway.probes prints a container's probes. Argument: the group of values. A pod in the node's
network is asked at "probeHost", because it need not listen at the address that Kubernetes takes for
the node's.
*/}}
{{- define "fairway.probes" -}}
{{- range $probe, $path := dict "livenessProbe" "/healthz" "readinessProbe" "/readyz" "startupProbe" "/healthz" }}
{{ $probe }}:
  httpGet:
    path: {{ $path }}
    port: metrics
    {{- with $.probeHost }}
    host: {{ . }}
    {{- end }}
{{- range $field, $number := (get $ $probe | default dict) }}
{{- with include "fairway.number" $number }}
  {{ $field }}: {{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
fairway.args prints extraArgs as flags. Argument: the map.
*/}}
{{- define "fairway.args" -}}
{{- range $flag, $value := . }}
{{- if not (kindIs "invalid" $value) }}
{{- if kindIs "slice" $value }}
{{- range $value }}
- {{ printf "--%s=%s" $flag (include "fairway.text" .) | quote }}
{{- end }}
{{- else }}
- {{ printf "--%s=%s" $flag (include "fairway.text" $value) | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
fairway.security prints a security context, whose users and groups may be numbers or texts.
*/}}
{{- define "fairway.security" -}}
{{- $context := deepCopy . -}}
{{- range $field := list "runAsUser" "runAsGroup" "fsGroup" -}}
{{- if hasKey $context $field -}}
{{- with include "fairway.number" (get $context $field) -}}{{- $_ := set $context $field (int64 .) -}}
{{- else -}}{{- $_ := unset $context $field -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{/*
fairway.placement prints what says where and how a group's pods run. Arguments: root, group,
dnsPolicy.
*/}}
{{- define "fairway.placement" -}}
{{- with .dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .group.podSecurityContext }}
securityContext:
  {{- include "fairway.security" . | nindent 2 }}
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" "dnsConfig" "hostAliases" }}
{{- with get $.group $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- range $field := list "priorityClassName" "runtimeClassName" }}
{{- with get $.group $field }}
{{ $field }}: {{ . }}
{{- end }}
{{- end }}
{{- with include "fairway.pullSecrets" .root | trim }}{{ . | nindent 0 }}{{- end }}
{{- end -}}

{{/*
fairway.container prints what both containers have. Argument: the group of values.
*/}}
{{- define "fairway.container" -}}
{{- with .resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .resizePolicy }}
resizePolicy:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .containerSecurityContext }}
securityContext:
  {{- include "fairway.security" . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
fairway.budget prints the spec of a PodDisruptionBudget, or nothing where one would keep
nodes from being drained. Arguments: group, replicas, selector.
*/}}
{{- define "fairway.budget" -}}
{{- $budget := .group.podDisruptionBudget -}}
{{- if and $budget.enabled (gt (int .replicas) 1) -}}
{{- $least := include "fairway.text" $budget.minAvailable -}}
{{- $most := include "fairway.text" $budget.maxUnavailable -}}
{{- if $least }}
minAvailable: {{ $least }}
{{- else }}
maxUnavailable: {{ $most | default "1" }}
{{- end }}
unhealthyPodEvictionPolicy: {{ $budget.unhealthyPodEvictionPolicy }}
selector:
  matchLabels:
    {{- .selector | nindent 4 }}
{{- end -}}
{{- end -}}
