{{/*
fairway.dnsAddresses prints the addresses of the cluster's DNS as a JSON list. Argument: the group
of values.
*/}}
{{- define "fairway.dnsAddresses" -}}
{{- $all := list -}}
{{- if kindIs "slice" .address -}}{{- $all = .address -}}
{{- else if .address -}}{{- $all = list .address -}}{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/*
fairway.dnsMistakes prints what cannot work in the values of the cluster's DNS, as a JSON list.
Argument: the group of values.
*/}}
{{- define "fairway.dnsMistakes" -}}
{{- $wrong := list -}}
{{- $addresses := include "fairway.dnsAddresses" . | fromJsonArray -}}
{{- $families := list -}}
{{- if not $addresses -}}{{- $wrong = append $wrong "dns.address: name the address that the kubelets give pods as their DNS (clusterDNS of their configuration; kubectl -n kube-system get service kube-dns -o jsonpath='{.spec.clusterIP}' prints it where there is a DNS already)" -}}{{- end -}}
{{- range $addresses -}}
{{- if include "fairway.prefix" (printf "%s/32" .) -}}{{- $families = append $families (contains ":" . | ternary "IPv6" "IPv4") -}}
{{- else -}}{{- $wrong = append $wrong (printf "dns.address: %q is no address such as 10.96.0.10 or fd00:10:96::a" .) -}}{{- end -}}
{{- end -}}
{{- if ne (len $families) (len (uniq $families)) -}}{{- $wrong = append $wrong "dns.address: two addresses must be of two families" -}}{{- end -}}
{{- if gt (len $addresses) 2 -}}{{- $wrong = append $wrong "dns.address: there are at most two, one of each family" -}}{{- end -}}
{{- range .upstreams -}}
{{- $host := . -}}
{{- if regexMatch "^\\[.*\\](:[0-9]+)?$" . -}}{{- $host = regexReplaceAll "^\\[(.*)\\](:[0-9]+)?$" . "${1}" -}}
{{- else if regexMatch "^[^:]+:[0-9]+$" . -}}{{- $host = . | splitList ":" | first -}}{{- end -}}
{{- if not (include "fairway.prefix" (printf "%s/32" $host)) -}}{{- $wrong = append $wrong (printf "dns.upstreams: %q is no address such as 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53" .) -}}
{{- else if or (has $host $addresses) (hasPrefix "127." $host) (eq $host "::1") -}}{{- $wrong = append $wrong (printf "dns.upstreams: %s is the cluster's DNS itself; name servers that know names outside of the cluster" .) -}}{{- end -}}
{{- end -}}
{{- if lt (include "fairway.seconds" .lameduck | default "10" | int) 5 -}}{{- $wrong = append $wrong "dns.lameduck: nodes need up to 5 seconds until they send queries to another server; set 5s or more" -}}{{- end -}}
{{- $wrong | toJson -}}
{{- end -}}
