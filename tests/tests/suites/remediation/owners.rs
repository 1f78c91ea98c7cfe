//! The owners of the testbed are what they pretend to be.

use e2e::{Owner, shared};
use serde_json::json;

use super::workloads::{assert_succeeded, container, managers, read, workload};

#[test]
fn each_owner_installs_and_upgrades_under_its_own_manager() {
    let testbed = shared();
    let namespace = testbed.namespace("owners").unwrap();
    for owner in Owner::ALL {
        let mut web = workload("Deployment", &namespace, owner.name());
        for image in ["registry.example.com/web:v1", "registry.example.com/web:v2"] {
            container(&mut web)["image"] = json!(image);
            assert_succeeded(owner.name(), &owner.apply(testbed, &web).unwrap());
            let live = read(testbed, &web);
            assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], image);
            let found = managers(&live);
            let (manager, operation) = owner.manager();
            assert!(
                found.contains(&(manager.to_owned(), operation.to_owned())),
                "{owner:?}: {found:?}"
            );
        }
        // Whoever owns a field by server-side apply is not overwritten by another owner.
        let mut rival = workload("Deployment", &namespace, owner.name());
        container(&mut rival)["image"] = json!("registry.example.com/web:v3");
        let arguments = ["apply", "--server-side", "--field-manager=rival", "-f", "-"];
        let run = testbed.kubectl_stdin(&arguments, &rival.to_string()).unwrap();
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!(
            run.stderr
                .contains(&format!("conflict with \"{manager}\"", manager = owner.manager().0)),
            "{run:?}"
        );
    }
}
