//! Does nothing until it is killed: the first process of a pod, which keeps its namespaces. It is
//! compiled by rustc alone, so it uses the standard library only.

fn main() {
    loop {
        std::thread::park();
    }
}
