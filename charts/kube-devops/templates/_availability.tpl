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

{{/* Who calls the webhook has no fixed address, and the API server neither. */}}
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
      {{- if and $root.Values.networkPolicy.prometheusNamespace (eq .scheme "http") }}
      from:
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: {{ $root.Values.networkPolicy.prometheusNamespace }}
      {{- end }}
  egress:
    - ports:
        - {port: 443, protocol: TCP}
        - {port: 6443, protocol: TCP}
        - {port: 53, protocol: TCP}
        - {port: 53, protocol: UDP}
{{- end }}
{{- end }}
{{- end }}
