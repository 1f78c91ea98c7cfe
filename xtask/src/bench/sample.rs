//! Generated input of a realistic shape and size.

use serde_json::{Value, json};

/// A running pod as the API server sends it, of about 14.5 KB: two containers and an init
/// container, probes, environment, volumes, managed fields, full status.
pub(super) fn pod_json() -> String {
    let environment: Vec<Value> = (0..18)
        .map(|i| json!({ "name": format!("SERVICE_SETTING_{i}"), "value": format!("http://backend-{i}.shop.svc.cluster.local:8080") }))
        .collect();
    let probe = |path: &str| {
        json!({ "httpGet": { "path": path, "port": 8080, "scheme": "HTTP" }, "timeoutSeconds": 1,
                "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3 })
    };
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.com/shop/{name}:v1.24.3"),
            "ports": [{ "name": "http", "containerPort": 8080, "protocol": "TCP" }],
            "env": environment,
            "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
            "volumeMounts": [{ "name": "config", "mountPath": "/etc/shop" }, { "name": "kube-api-access-x2k9p", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }],
            "livenessProbe": probe("/healthz"), "readinessProbe": probe("/readyz"),
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "imagePullPolicy": "IfNotPresent",
            "securityContext": { "capabilities": { "drop": ["ALL"] }, "readOnlyRootFilesystem": true },
        })
    };
    let status = |name: &str| {
        json!({
            "name": name, "state": { "running": { "startedAt": "2026-01-01T00:00:05Z" } }, "lastState": {},
            "ready": true, "restartCount": 1, "started": true,
            "image": format!("registry.example.com/shop/{name}:v1.24.3"),
            "imageID": format!("registry.example.com/shop/{name}@sha256:{}", "0123456789abcdef".repeat(4)),
            "containerID": format!("containerd://{}", "fedcba9876543210".repeat(4)),
        })
    };
    let conditions: Vec<Value> = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .iter()
        .map(|kind| json!({ "type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-01-01T00:00:05Z" }))
        .collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "payment-service-7d4b9c6f58-x2k9p", "generateName": "payment-service-7d4b9c6f58-",
            "namespace": "shop-production", "uid": "5f0c9a3e-9d0b-4c55-8e0a-1c2d3e4f5a6b",
            "resourceVersion": "184467440", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "app.kubernetes.io/name": "payment-service", "app.kubernetes.io/part-of": "shop", "pod-template-hash": "7d4b9c6f58" },
            "annotations": { "prometheus.io/scrape": "true", "prometheus.io/port": "9090", "checksum/config": "0123456789abcdef".repeat(4) },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "payment-service-7d4b9c6f58", "uid": "0e6f7a8b-1c2d-4e5f-9a0b-1c2d3e4f5a6b", "controller": true, "blockOwnerDeletion": true }],
            "managedFields": [managed("kube-controller-manager", 18), managed("kubelet", 12)],
        },
        "spec": {
            "volumes": [{ "name": "config", "configMap": { "name": "payment-config", "defaultMode": 420 } }, { "name": "tmp", "emptyDir": {} },
                { "name": "kube-api-access-x2k9p", "projected": { "sources": [{ "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } }, { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } }], "defaultMode": 420 } }],
            "initContainers": [container("migrate")],
            "containers": [container("payment-service"), container("envoy-proxy")],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "payment", "nodeName": "node-17.eu-central-1.compute.internal",
            "schedulerName": "default-scheduler", "priority": 0, "enableServiceLinks": true,
            "tolerations": [{ "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }],
        },
        "status": {
            "phase": "Running", "conditions": conditions, "hostIP": "10.0.17.4", "podIP": "10.244.17.23",
            "startTime": "2026-01-01T00:00:00Z", "qosClass": "Burstable",
            "initContainerStatuses": [status("migrate")],
            "containerStatuses": [status("payment-service"), status("envoy-proxy")],
        },
    });
    pod.to_string()
}

fn managed(manager: &str, fields: usize) -> Value {
    let entries: serde_json::Map<String, Value> = (0..fields)
        .map(|i| {
            (
                format!("k:{{\"name\":\"SERVICE_SETTING_{i}\"}}"),
                json!({ ".": {}, "f:name": {}, "f:value": {} }),
            )
        })
        .collect();
    json!({ "manager": manager, "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:05Z",
            "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": { "f:containers": { "f:env": entries } } } })
}

/// Namespace and name of a pod: 100 000 pods are in 200 namespaces of 500, as in a large cluster.
pub(super) fn pod_name(number: usize) -> (String, String) {
    const SERVICES: [&str; 8] = [
        "payment-service",
        "checkout-frontend",
        "inventory-sync-worker",
        "recommendation-engine",
        "notification-dispatcher",
        "user-profile-api",
        "search-indexer",
        "image-resizer",
    ];
    let namespace = format!("team-{:03}-production", number % 200);
    let service = SERVICES[number / 200 % SERVICES.len()];
    // Looks like a hash of Kubernetes, and is the same in each run.
    let random = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (namespace, format!("{service}-{:010x}-{:05x}", random >> 24, random & 0xf_ffff))
}
