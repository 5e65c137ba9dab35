// Compiles the plan, one parameter of the model's description after another.
#pragma once

#include <memory>
#include <string>

#include "live/plan_cut.h"
#include "live/plan_tables.h"
#include "live/stored_layout.h"

namespace liveweight {

class PlanCompiler {
 public:
  PlanCompiler(const ModelDescription& model, const TensorCatalog& catalog, const PlanOptions& options);

  Result<std::unique_ptr<Plan::Implementation>> compile();

 private:
  void make_room();
  Status add_parameter(const ParameterDescription& parameter);
  Status add_quantized_here(const ParameterDescription& parameter, const ParameterCut& cut,
                            const Scheme& scheme);
  Status add_stored(const ParameterDescription& parameter, const ParameterCut& cut, const Scheme& scheme);
  Status add_stored_member(const Member& member, int32_t parameter_index,
                           const std::vector<Segment>& segments);
  // A target for a tensor of one of those dtypes; good until the next one is added to its source.
  Result<Target*> add_stored_tensor(const StoredTensor& tensor, const std::vector<DType>& dtypes,
                                    int32_t parameter_index, int64_t matrix);
  bool shares_embedding(const ParameterDescription& parameter, const Scheme& scheme) const;
  void add_aliases();
  void count_awaited(int32_t parameter);
  void finish();

  // The one scheme of all members, or an error that names two that disagree.
  Result<Scheme> scheme_of(const ParameterDescription& parameter) const;
  // The catalog's facts of a tensor, under its own name or an alias's.
  Result<TensorFacts> facts_of(const std::string& name, const std::string& needed_by) const;
  Result<int32_t> add_source(const std::string& name, const Shape& expected, const std::string& parameter);
  int32_t add_planned(const ParameterDescription& parameter, KernelFormat format, const ParameterCut& cut);

  const ModelDescription& model_;
  const TensorCatalog& catalog_;
  std::unique_ptr<Plan::Implementation> plan_;
};

}  // namespace liveweight
