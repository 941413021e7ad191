{{/*
fairway.serviceType prints the type of a gateway's Service. Arguments: gateway, service.
*/}}
{{- define "fairway.serviceType" -}}
{{- .service.type | default (.gateway.onNode | ternary "ClusterIP" "LoadBalancer") -}}
{{- end -}}

{{/*
fairway.service prints a Service of a gateway. Arguments: root, gateway, name, service (values),
selector, key.
*/}}
{{- define "fairway.service" -}}
{{- $service := .service -}}
{{- $type := include "fairway.serviceType" . -}}
{{- $balanced := eq $type "LoadBalancer" }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "fairway.labels" (dict "root" .root "component" "gateway" "key" .key "more" $service.labels) | nindent 4 }}
  {{- with $service.annotations }}
  annotations:
    {{- range $key, $text := . }}
    {{ $key }}: {{ include "fairway.text" $text | quote }}
    {{- end }}
  {{- end }}
spec:
  type: {{ $type }}
  {{- if ne $type "ClusterIP" }}
  {{- with $service.externalTrafficPolicy }}
  # With Local the gateway sees the client's address, and requests take no second hop between
  # nodes.
  externalTrafficPolicy: {{ . }}
  {{- end }}
  {{- end }}
  {{- range $field := list "internalTrafficPolicy" "clusterIP" "sessionAffinity" "trafficDistribution" "ipFamilyPolicy" }}
  {{- with get $service $field }}
  {{ $field }}: {{ . }}
  {{- end }}
  {{- end }}
  {{- range $field := list "ipFamilies" "clusterIPs" "externalIPs" }}
  {{- with get $service $field }}
  {{ $field }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- if $balanced }}
  {{- range $field := list "loadBalancerClass" "loadBalancerIP" }}
  {{- with get $service $field }}
  {{ $field }}: {{ . }}
  {{- end }}
  {{- end }}
  {{- with $service.loadBalancerSourceRanges }}
  loadBalancerSourceRanges:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not (kindIs "invalid" $service.allocateLoadBalancerNodePorts) }}
  allocateLoadBalancerNodePorts: {{ $service.allocateLoadBalancerNodePorts }}
  {{- end }}
  {{- if eq $service.externalTrafficPolicy "Local" }}
  {{- with include "fairway.number" $service.healthCheckNodePort }}
  healthCheckNodePort: {{ . }}
  {{- end }}
  {{- end }}
  {{- end }}
  selector:
    {{- .selector | nindent 4 }}
  ports:
    {{- range $port := list "http" "https" "http3" }}
    {{- with include "fairway.number" (get ($service.ports | default dict) $port) }}
    - name: {{ $port }}
      port: {{ . }}
      targetPort: {{ get ($service.targetPorts | default dict) $port | default $port }}
      {{- if eq $port "http3" }}
      protocol: UDP
      {{- else if $service.appProtocol }}
      appProtocol: {{ $port }}
      {{- end }}
      {{- if ne $type "ClusterIP" }}
      {{- with include "fairway.number" (get ($service.nodePorts | default dict) $port) }}
      nodePort: {{ . }}
      {{- end }}
      {{- end }}
    {{- end }}
    {{- end }}
{{- end -}}
