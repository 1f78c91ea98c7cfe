{{- define "kube-devops.service" -}}
{{- $root := .root }}
{{- with include "kube-devops.component" . | fromJson }}
apiVersion: v1
kind: Service
metadata:
  {{- include "kube-devops.metadata" (dict "name" .name "root" $root) | nindent 2 }}
spec:
  selector:
    {{- include "kube-devops.selector" . | nindent 4 }}
  ports:
    - name: {{ .scheme }}
      port: {{ ternary 443 .port (eq .scheme "https") }}
      targetPort: {{ .scheme }}
      protocol: TCP
{{- end }}
{{- end }}

{{- define "kube-devops.poddisruptionbudget" -}}
{{- $root := .root }}
{{- $budget := .root.Values.pdb }}
{{- with include "kube-devops.component" . | fromJson }}
{{- if and $budget.enabled (gt (int .values.replicaCount) 1) }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "kube-devops.metadata" (dict "name" .name "root" $root) | nindent 2 }}
spec:
  minAvailable: {{ $budget.minAvailable }}
  # A pod that is not ready helps nobody, and would block the drain of its node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "kube-devops.selector" . | nindent 6 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Who calls the webhook and who scrapes metrics has no fixed address, and the API server neither. */}}
{{- define "kube-devops.networkpolicy" -}}
{{- $root := .root }}
{{- if .root.Values.networkPolicy.enabled }}
{{- with include "kube-devops.component" . | fromJson }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "kube-devops.metadata" (dict "name" .name "root" $root) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "kube-devops.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        - {port: {{ .port }}, protocol: TCP}
  egress:
    - ports:
        - {port: 443, protocol: TCP}
        - {port: 6443, protocol: TCP}
        - {port: 53, protocol: TCP}
        - {port: 53, protocol: UDP}
{{- end }}
{{- end }}
{{- end }}

{{- define "kube-devops.servicemonitor" -}}
{{- $root := .root }}
{{- $monitor := .root.Values.serviceMonitor }}
{{- if and $monitor.enabled (.root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") }}
{{- with include "kube-devops.component" . | fromJson }}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  {{- include "kube-devops.metadata" (dict "name" .name "root" $root) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "kube-devops.selector" . | nindent 6 }}
  endpoints:
    - port: {{ .scheme }}
      scheme: {{ .scheme }}
      interval: {{ $monitor.interval }}
      {{- if eq .scheme "https" }}
      # The webhook's certificate is signed by an authority of its own, and valid for the Service.
      tlsConfig: {insecureSkipVerify: true}
      {{- end }}
{{- end }}
{{- end }}
{{- end }}
