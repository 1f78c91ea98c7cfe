//! Finds the patches that a kustomization names. They look like objects, but are parts of them.

use serde::Deserialize;

use super::parse::parse_last_wins;
use super::split::documents;

/// The names by which Kustomize finds its file in a folder.
pub const KUSTOMIZATION_FILES: [&str; 3] =
    ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The files, relative to the folder of the kustomization, that it merges into other objects. A
/// kustomization that cannot be read names none.
/// <https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/>
#[must_use]
pub fn kustomize_patches(bytes: &[u8]) -> Vec<String> {
    let documents = documents(bytes);
    let read = documents
        .iter()
        .filter_map(|document| parse_last_wins::<Kustomization>(document.bytes).ok().flatten());
    read.flat_map(|Kustomization { patches, patches_strategic_merge, patches_json6902 }| {
        let targeted = patches.into_iter().chain(patches_json6902);
        let paths = targeted.flatten().filter_map(|patch| patch.path);
        // The kustomization may contain a patch itself instead of its path.
        let merged = patches_strategic_merge.into_iter().flatten();
        paths.chain(merged.filter(|text| !text.contains('\n'))).collect::<Vec<_>>()
    })
    .collect()
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Kustomization {
    patches: Option<Vec<Patch>>,
    patches_strategic_merge: Option<Vec<String>>,
    patches_json6902: Option<Vec<Patch>>,
}

#[derive(Deserialize)]
struct Patch {
    path: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_name_a_patch_is_known() {
        let text = "resources: [base]\npatches:\n- {path: a.yaml}\n- {path: b.yaml, target: {kind: Pod}}\n- patch: |-\n    - op: add\n\
                    patchesStrategicMerge:\n- c.yaml\n- |-\n  kind: Pod\n  spec: {}\npatchesJson6902:\n- {path: ../d.json, target: {}}\n";
        assert_eq!(kustomize_patches(text.as_bytes()), ["a.yaml", "b.yaml", "../d.json", "c.yaml"]);
        for text in ["", "resources: [a]\n", "patches: {}\n", "- a\n", "patches:\n", "a: [\n"] {
            assert_eq!(kustomize_patches(text.as_bytes()), [""; 0], "{text}");
        }
    }
}
