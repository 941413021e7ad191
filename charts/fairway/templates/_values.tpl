{{/*
fairway.values prints the values as JSON, with the defaults of values that are missing:
"helm upgrade --reuse-values" leaves out those that came since. files/defaults.yaml is
values.yaml. Values that users remove with null are not filled in again.
*/}}
{{- define "fairway.values" -}}
{{- $values := .Values | toJson | fromJson -}}
{{- include "fairway.fill" (list $values (include "fairway.defaults" (dict "root" . "values" $values) | fromJson)) -}}
{{- $values | toJson -}}
{{- end -}}

{{/*
fairway.defaults prints the defaults as JSON, without those that the user may have removed from
a group that is there. Arguments: root, values.
*/}}
{{- define "fairway.defaults" -}}
{{- $values := .values -}}
{{- $defaults := .root.Files.Get "files/defaults.yaml" | fromYaml -}}
{{- range $group := list "controller" "gateway" "network" "dns" -}}
{{- if kindIs "map" (get $values $group) -}}
{{- range $removable := list "podSecurityContext" "containerSecurityContext" "resources" "nodeSelector" "livenessProbe" "readinessProbe" "startupProbe" -}}
{{- $_ := unset (get $defaults $group) $removable -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if kindIs "map" (dig "gateway" "service" nil $values) -}}
{{- if kindIs "map" $values.gateway.service.ports -}}{{- $_ := unset $defaults.gateway.service "ports" -}}{{- end -}}
{{- end -}}
{{- $defaults | toJson -}}
{{- end -}}

{{/*
fairway.removeNulls removes what is null from a map, at any depth.
*/}}
{{- define "fairway.removeNulls" -}}
{{- $map := . -}}
{{- range $key, $value := deepCopy . -}}
{{- if kindIs "invalid" $value -}}{{- $_ := unset $map $key -}}
{{- else if kindIs "map" $value -}}{{- include "fairway.removeNulls" (get $map $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
fairway.fill adds to the first map what only the second has, at any depth. A null of the
first map stays.
*/}}
{{- define "fairway.fill" -}}
{{- $into := index . 0 -}}
{{- range $key, $default := index . 1 -}}
{{- if not (hasKey $into $key) -}}
{{- if kindIs "map" $default -}}{{- $default = deepCopy $default -}}{{- end -}}
{{- $_ := set $into $key $default -}}
{{- else if and (kindIs "map" $default) (kindIs "map" (get $into $key)) -}}
{{- include "fairway.fill" (list (get $into $key) $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
fairway.gateways prints all gateways as JSON, by their keys: "default" is the values'
"gateway", the others are "gateways" over it. Each also has:

  key        its key
  gateway    its name for the controllers
  name       the name of its workload and its Service
  config     the ClusterGatewayConfig's spec, if it has one
  replicas   how many run at least, unless it is a DaemonSet
  grace      how many seconds it needs to end
*/}}
{{- define "fairway.gateways" -}}
{{- $root := . -}}
{{- $values := include "fairway.values" . | fromJson -}}
{{- $all := dict "default" (deepCopy $values.gateway) -}}
{{- range $key, $own := $values.gateways -}}
{{- $gateway := deepCopy ($own | default dict) -}}
{{- $base := deepCopy $values.gateway -}}
{{- $_ := set $base.ingressClassResource "name" $key -}}
{{- $_ := set $base.ingressClassResource "default" false -}}
{{- $_ := set $base.ingressClassResource "aliases" list -}}
{{- $_ := set $base.service "additional" dict -}}
{{- $_ := set $base.publishService "pathOverride" "" -}}
{{- $_ := set $base "publishAddresses" list -}}
{{- range $once := list "clusterIP" "loadBalancerIP" -}}{{- $_ := set $base.service $once "" -}}{{- end -}}
{{- range $once := list "clusterIPs" "externalIPs" -}}{{- $_ := set $base.service $once list -}}{{- end -}}
{{- $_ := set $base.service "nodePorts" dict -}}
{{- $_ := set $base.service "healthCheckNodePort" nil -}}
{{- include "fairway.fill" (list $gateway $base) -}}
{{- include "fairway.removeNulls" $gateway -}}
{{- include "fairway.fill" (list $gateway (include "fairway.defaults" (dict "root" $root "values" (dict "gateway" $gateway)) | fromJson).gateway) -}}
{{- $_ := set $all $key $gateway -}}
{{- end -}}
{{- range $key, $gateway := $all -}}
{{- $_ := set $gateway "key" $key -}}
{{- $_ := set $gateway "gateway" (include "fairway.gatewayName" (dict "root" $root "key" $key)) -}}
{{- $_ := set $gateway "name" (include "fairway.workload" (dict "root" $root "key" $key)) -}}
{{- $_ := set $gateway "hasService" (dig "service" "enabled" true $gateway) -}}
{{- $_ := set $gateway "onNode" (or (dig "hostPort" "enabled" false $gateway) (dig "hostNetwork" false $gateway)) -}}
{{- $replicas := include "fairway.number" $gateway.replicaCount | default "2" -}}
{{- if $gateway.autoscaling.enabled -}}{{- $replicas = include "fairway.number" $gateway.autoscaling.minReplicas | default "2" -}}{{- end -}}
{{- $_ := set $gateway "replicas" $replicas -}}
{{- $_ := set $gateway "grace" (add (include "fairway.seconds" $gateway.drain.delay) (include "fairway.seconds" $gateway.drain.timeout) 10) -}}
{{- $_ := set $gateway "config" (include "fairway.config" (dict "root" $root "gateway" $gateway "main" $values.gateway) | fromJson) -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/*
fairway.config prints the spec of a gateway's ClusterGatewayConfig: its settings, and the
ports where they are not those of the controllers' flags. The main gateway of the plain
release needs none while it is empty.
*/}}
{{- define "fairway.config" -}}
{{- $gateway := .gateway -}}
{{- $spec := deepCopy ($gateway.settings | default dict) -}}
{{- range $scheme := list "http" "https" -}}
{{- $port := include "fairway.number" (get $gateway.containerPort $scheme) -}}
{{- if ne $port (include "fairway.number" (get $.main.containerPort $scheme)) -}}
{{- $_ := set $spec (printf "%sPort" $scheme) ($port | default "0" | int) -}}
{{- end -}}
{{- end -}}
{{- if and $gateway.hostPort.enabled (not (hasKey $spec "publicPorts")) -}}
{{- $public := dict -}}
{{- range $scheme := list "http" "https" -}}
{{- with include "fairway.number" (get $gateway.hostPort.ports $scheme) -}}{{- $_ := set $public $scheme (int .) -}}{{- end -}}
{{- end -}}
{{- $_ := set $spec "publicPorts" $public -}}
{{- end -}}
{{- $spec | toJson -}}
{{- end -}}

{{/*
fairway.number prints a number that the values give as number or as text, and nothing for
null and "". Numbers of values are floats, which would print 1000000 as 1e+06.
*/}}
{{- define "fairway.number" -}}
{{- if not (or (kindIs "invalid" .) (eq (toString .) "")) -}}{{- . | toString | float64 | int64 -}}{{- end -}}
{{- end -}}

{{/*
fairway.text prints a value of any kind as a flag wants it.
*/}}
{{- define "fairway.text" -}}
{{- if kindIs "float64" . -}}
{{- if eq (floor .) . -}}{{- int64 . -}}{{- else -}}{{- . -}}{{- end -}}
{{- else if kindIs "slice" . -}}
{{- $parts := list -}}{{- range . -}}{{- $parts = append $parts (include "fairway.text" .) -}}{{- end -}}{{- join "," $parts -}}
{{- else if not (kindIs "invalid" .) -}}{{- . -}}{{- end -}}
{{- end -}}

{{/*
fairway.seconds prints a duration such as "1m30s", or a number of seconds, in seconds.
*/}}
{{- define "fairway.seconds" -}}
{{- $text := include "fairway.text" . -}}
{{- if regexMatch "^[0-9]+$" $text -}}{{- $text -}}
{{- else if regexMatch "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$" $text -}}
{{- $hours := regexFind "[0-9]+h" $text | trimSuffix "h" | default "0" | int -}}
{{- $minutes := regexFind "[0-9]+m" $text | trimSuffix "m" | default "0" | int -}}
{{- $seconds := regexFind "[0-9]+s" $text | trimSuffix "s" | default "0" | int -}}
{{- add (mul $hours 3600) (mul $minutes 60) $seconds -}}
{{- end -}}
{{- end -}}
