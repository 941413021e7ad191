{{/*
fairway.networkMistakes prints what cannot work in the values of the network, as a JSON list.
Argument: the group of values.
*/}}
{{- define "fairway.networkMistakes" -}}
{{- $wrong := list -}}
{{- $overlay := list (include "fairway.number" .overlay.port) (include "fairway.number" .overlay.vni) -}}
{{- if not .podCIDRs -}}{{- $wrong = append $wrong "network.podCIDRs: name all ranges of the cluster's pods, such as 10.244.0.0/16 (kube-controller-manager has them as --cluster-cidr)" -}}{{- end -}}
{{- range $field := list "podCIDRs" "noMasquerade" -}}
{{- range get $ $field -}}
{{- if not (include "fairway.prefix" .) -}}{{- $wrong = append $wrong (printf "network.%s: %q is no prefix such as 10.244.0.0/16 or fd00:10:244::/56" $field .) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- range .services.nodePortAddresses -}}
{{- if not (include "fairway.prefix" .) -}}{{- $wrong = append $wrong (printf "network.services.nodePortAddresses: %q is no prefix such as 192.0.2.0/24 or 2001:db8::/64" .) -}}{{- end -}}
{{- end -}}
{{- if not (or .podNetwork .services.enabled) -}}{{- $wrong = append $wrong "network.podNetwork: without it and without services.enabled the agents have nothing to do; set network.enabled to false" -}}{{- end -}}
{{- if and .allocatePodCIDRs (not .podNetwork) -}}{{- $wrong = append $wrong "network.allocatePodCIDRs: the ranges are for the pod network of Fairway; leave it out without podNetwork" -}}{{- end -}}
{{- if .allocatePodCIDRs -}}
{{- range .podCIDRs -}}
{{- $family := contains ":" . | ternary "ipv6" "ipv4" -}}
{{- $size := include "fairway.number" (get $.nodeCIDRMaskSize $family) | default (eq $family "ipv4" | ternary "24" "64") -}}
{{- if and (include "fairway.prefix" .) (gt (. | splitList "/" | last | int) (int $size)) -}}{{- $wrong = append $wrong (printf "network.nodeCIDRMaskSize.%s: a node's range with a prefix of %s bits does not fit into %s" $family $size .) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- range .apiServers -}}
{{- if not (regexMatch "^(https://)?([A-Za-z0-9.-]+|\\[[0-9a-fA-F:.]+\\])(:[0-9]+)?$" .) -}}{{- $wrong = append $wrong (printf "network.apiServers: %q is no host:port such as 192.0.2.1:6443 or [2001:db8::1]:6443" .) -}}{{- end -}}
{{- end -}}
{{- if and (eq .mode "direct") (ne (join "," $overlay) "8479,102") -}}{{- $wrong = append $wrong "network.overlay: mode direct has no overlay; set mode to auto or vxlan, or leave overlay out" -}}{{- end -}}
{{- range $field := list "binDir" "confDir" -}}
{{- $folder := get $.cni $field -}}
{{- if not (regexMatch "^(/[^/]+)+$" $folder) -}}{{- $wrong = append $wrong (printf "network.cni.%s: %q is no folder of a node, such as /opt/cni" $field $folder) -}}
{{- else if hasPrefix (printf "%s/" $folder) "/usr/local/bin/" -}}{{- $wrong = append $wrong (printf "network.cni.%s: %s would hide the programs of the image; choose another folder, or make it a link to another" $field $folder) -}}{{- end -}}
{{- end -}}
{{- if not (regexMatch "^unix:///[^/]+/.+$" .runtimeEndpoint) -}}{{- $wrong = append $wrong (printf "network.runtimeEndpoint: %q is no socket in a folder of a node, such as unix:///run/containerd/containerd.sock" .runtimeEndpoint) -}}{{- end -}}
{{- if eq (dig "rollingUpdate" "maxSurge" 0 (.updateStrategy | default dict) | toString | trimSuffix "%") "0" | not -}}{{- $wrong = append $wrong "network.updateStrategy: a second agent does not fit on a node; leave maxSurge out" -}}{{- end -}}
{{- $wrong | toJson -}}
{{- end -}}

{{/*
fairway.prefix prints "true" for a prefix of IPv4 or, as far as a pattern can tell, of IPv6.
*/}}
{{- define "fairway.prefix" -}}
{{- $octet := "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])" -}}
{{- $four := printf "%s([.]%s){3}/(3[0-2]|[12]?[0-9])" $octet $octet -}}
{{- $six := "[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){2,7}/(12[0-8]|1[01][0-9]|[1-9]?[0-9])" -}}
{{- if regexMatch (printf "^(%s|%s)$" $four $six) . -}}true{{- end -}}
{{- end -}}
